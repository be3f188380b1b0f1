"""Tables of awkward texts to draw from: sizes, keys, values and cards of a header, patterns of data."""


def entries(*lines: str) -> list[str]:
    """The entries of a table that is written with bars between them."""
    return [entry for line in lines for entry in line.split("|")]


def pick(rng, table):
    """One entry of a sequence."""
    return table[int(rng.integers(len(table)))]


SIZES = entries(
    "0|-1|1|2|3|7|31|33|1000|65536|999999|2147483647|2147483648|1000000000|1000000000000000000",
    "9223372036854775807|9999999999999999999999999999999999999999|32.5|1E3|'32'|''||T|NaN|(2, 3)|-32",
    "'1PB(9)'",
)
AXES = entries("NAXIS1|NAXIS2|NAXIS|NAXIS3|BITPIX|PCOUNT|GCOUNT|EXTEND|GROUPS")
TILES = entries("ZNAXIS1|ZNAXIS2|ZNAXIS|ZTILE1|ZTILE2|ZBITPIX|THEAP|ZVAL1|ZVAL2|ZBLANK")
TABLE = entries("TFIELDS|NAXIS1|NAXIS2|PCOUNT|TFORM1|TTYPE1|TFORM2|TTYPE2|ZIMAGE|ZDITHER0")
WORDS = entries("'RICE_1'|'RICE_ONE'|'GZIP_1'|'GZIP_2'|'PLIO_1'|'HCOMPRESS_1'|'NOCOMPRESS'|'XYZ'|''|5|T")
TFORMS = entries(
    "'1PB(99999)'|'1QB(1)'|'1PI(2)'|'1PE(3)'|'9PB'|'PB'|'1E'|'100000000B'|'0B'|'X'|''|7|'1PX(3)'"
)
EXTENSIONS = entries("'IMAGE'|'BINTABLE'|'TABLE'|'A3DTABLE'|'IUEIMAGE'|'FOREIGN'|'DUMP'|'XYZ'|''|5|T")

KEYS = entries(
    "EXPTIME|EXPOSURE|DARKTIME|EXP_TIME|EGAIN|E-GAIN|GAIN|OFFSET|CCD-TEMP|SET-TEMP|XBINNING|YBINNING|NCOMBINE",
    "SATURATE|BSCALE|BZERO|BLANK|BIASSEC|TRIMSEC|IMAGETYP|FRAME|OBSTYPE|INSTRUME|READOUTM|XORGSUBF|EXTNAME",
)
NUMBERS = entries(
    "NaN|nan|-nan|inf|-inf|1E400|1e300|1e-300|1E-45|-1|0|-0.0|1|1.0|1.0000001|16|255|65536|T|F|1,5|0x10|1_000",
    "1D3|1d400|+|-|.|/|//|1e|1e+|5.|.5|+7|007|3.402824E38|4294967296|1e18|2e9||(1.0, 2.0)|(1, 2|1 2|1 / two",
    "99999999999999999999999999999999999999999999999999999999999999|-1000000000000000000000000000000000000.",
)
STRINGS = entries(
    "''|' '|'nan'|'inf'|'1e400'|'10'|'10 s'|'-3'|'abc'|'''|'|'a''b'|'True'|'&'|'a&'|abc|'1e5' / s|'None'",
    "'Light'|'BIAS'|'Master Dark'|'[4096:4109]'|'[,]'|'High'|'dark'|'Zero Frame'",
    "'9999999999999999999999999999999999999999999999999999999999999999999'",
    "'very long text that goes on and on, as comments in headers sometimes do'",
)
UGLY = entries(
    "'caf\xe9'|'\xff\xfe'|'a\nb'|'a\x00b'|'\x1b[31mred'|'\x07'|'a\tb'|'\r'|\x7f|'\x85'|\n|\x00|5\x00|5\n|'\xa05'",
    "'Dark\nFrame'|'Dark\x00'|'Dark Frame\xa0'|'\xb2'",
)
CARDS = entries(
    "HIERARCH = 5|HIERARCH EXPTIME = 60.|HIERARCH ESO DET DIT = 'x|HIERARCH ESO DET DIT = 60|HIERARCH|=|= 5",
    "HIERARCH a.very.long_and-odd key = 1|CONTINUE  'abc&'|CONTINUE  abc|CONTINUE|CONTINUE= 5|        = 5",
    "EXPTIME 60|EXPTIME=60|EXPTIME = 60|exptime =                   60|EXPTIME =",
    "EXPTIME =  '60|EXPTIME = '60&'",
    "COMMENT = 5|HISTORY|END     = 5|END|LONGKEYWORD = 5|INHERIT = 'T'|BLOCKED = T|CHECKSUM= 'x'",
    "DATASUM = 'x'",
    "ZIMAGE  =                    T|XTENSION= 'IMAGE   '|SIMPLE  =                    T|NAXIS3  = 3",
    "BSCALE  =                   0.|BLANK   =                 2.5|BZERO   = '32768   '",
)
SECONDS = entries(
    "1e300|1e-300|1e38|1e-38|10|1.7e308|5e-324|0|1e7|1e-9|100|-1|nan|inf|1e400|T|''|'10'|1,5|",
    "99999999999999999999999999999999999999999999999999999999999999",
)
FINE_SECONDS = SECONDS[:11]
PATTERNS = entries(
    "7fc00000|7ff8000000000000|ffffffff|00000000|7f800000|ff800000|7f7fffff|80000000|7fefffffffffffff|00000001",
    "7fff|8000|0001|44fa0000|c4fa0000|7ff0000000000000",
)
