"""What the report says to its pictures: what they show, and what to look for."""

OFFSET = (
    "the level of each frame over that of the set. A trend is a bias that drifts; a frame that stands "
    "apart is worth a look."
)

SCALE = (
    "the dark current of each frame over that of the set: its thermometer. It should rise with the "
    "temperature, by some 10 % a degree, and not with the exposure."
)

HISTOGRAM = (
    "Pixels by dark current, as each exposure time alone shows it. Where the curves agree, dark current "
    "is measured. In the shaded regions read noise rules, in the stronger one even in the longest exposure: "
    "the curves differ by their noise there. Pixels below zero are not shown."
)

CUMULATIVE = "Pixels that have more dark current than this. The dashed line is the limit of HOT."

SHORT_LONG = (
    "Each point is a pixel: its dark current from the longest exposure against that from the shortest. "
    "Pixels on the line subtract well, however hot they are. Below the line are those that gather less "
    "the longer they wait; at the dashed ceiling the long exposure is saturated."
)

ZOOM = "The same, up to {limit:.2g} {unit}. The cloud at zero is as wide as the noise of both exposures."

MAP = (
    "Dark current in means of square blocks, and the masked pixels by their reason. Look for glow at "
    "edges and corners, and for columns or clusters of one colour."
)

STATISTICS = (
    "The share of complete pixels whose p-value is up to p. Pixels that the noise model describes follow "
    "the dashed line; the bad ones lift the left end above it. A curve that leaves the line over its "
    "whole length means that the noise model is wrong."
)

RULES = (
    "Significant means a share of {fdr:g} false ones among the flagged. NONLINEAR: the line misses some "
    "exposure by more than {min_sigma:g} single-frame sigmas and {tolerance:.3g} % of the dark signal. "
    "TELEGRAPH: the scatter holds more than {min_sigma:g} sigmas beyond the noise."
)

NULL = "{test} of the quiet pixels is {null:.3f} times what the noise model expects."

SHARED = "The tests allow for it; far from 1 it says that gain, read noise or weights are not right."

PIXELS = (
    "Above: counts against exposure, with the fitted line and the errors of single frames. Below: what "
    "the line leaves over, in these errors. Dots were used; open squares are saturated; open triangles "
    "were not used because a shorter exposure was saturated; crosses were dropped as cosmic rays."
)

NO_SAMPLES = "Not made: this result is of an older version, which kept no samples."

TABLE = "{shown} of {all}, those first that miss their line by most sigmas. A click on a head sorts."

FILES = (
    "Every masked pixel is in <code>bad_pixels.ecsv</code>, every number in <code>dark_current.fits</code> "
    "and <code>summary.json</code>."
)

RATES = (
    "Dark current of the typical pixel of each detector, with the error of one pixel. The line is the median "
    "over the detectors; the odd ones are filled and named."
)

SHARES = "The share of masked pixels of each detector, in percent, drawn in the same way."

ODD = (
    "A detector is odd in a quantity in which it lies more than {limit:g} sigmas from the median over the "
    "detectors. A sigma holds the robust spread of the detectors, widened where they are few, a floor "
    "({rate:.2g} % of the dark current, {detector:.2g} % of gain and read noise, {level:.2g} % of the "
    "saturation level, {share:.2g} % of a share of pixels), and the figure's own error. Fewer than {fewest} "
    "detectors are not compared."
)

DETECTORS = "A click on a head sorts; a name leads to the report of the detector."

EACH = (
    "Every number is in <code>summary.json</code>; every detector has a folder of its own, with its report, "
    "maps and masked pixels."
)
