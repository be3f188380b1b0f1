"""Flags: the table of bits, and what may be asked of them."""

import numpy as np
import pytest
from astropy.nddata import bitmask

import hotfit
from hotfit import flags
from hotfit.errors import HotfitError
from hotfit.flags import DQ, Rules

TABLE = {
    "DO_NOT_USE": 0,
    "SATURATED": 1,
    "JUMP_DET": 2,
    "UNRELIABLE_ERROR": 8,
    "HOT": 11,
    "TELEGRAPH": 15,
    "NONLINEAR": 16,
    "UNRELIABLE_BIAS": 22,
    "UNRELIABLE_SLOPE": 24,
}


# --- the table


def test_bits_and_names_are_those_of_the_design():
    assert {flag.name: int(flag) for flag in DQ} == {name: 1 << bit for name, bit in TABLE.items()}
    assert hotfit.DQ is DQ


def test_every_flag_has_a_meaning_of_its_own():
    assert set(flags.MEANING) == set(DQ)
    assert len({text.strip() for text in flags.MEANING.values()} - {""}) == len(DQ)


def test_astropy_bitmask_takes_the_table():
    dq = np.array([0, DQ.HOT, DQ.NONLINEAR, DQ.HOT | DQ.NONLINEAR, DQ.UNRELIABLE_SLOPE], np.uint32)
    ignoring = bitmask.bitfield_to_boolean_mask(dq, ignore_flags="HOT", flag_name_map=hotfit.DQ)
    np.testing.assert_array_equal(ignoring, [False, False, True, True, True])
    only = bitmask.bitfield_to_boolean_mask(dq, ignore_flags="~HOT", flag_name_map=hotfit.DQ)
    np.testing.assert_array_equal(only, [False, True, False, True, False])


@pytest.mark.parametrize("name", TABLE)
def test_interpret_bit_flags_knows_every_name(name):
    assert bitmask.interpret_bit_flags(name, flag_name_map=hotfit.DQ) == 1 << TABLE[name]


@pytest.mark.parametrize("separator", [",", "|", "+"])
def test_interpret_bit_flags_adds_names(separator):
    joined = separator.join(TABLE)
    assert bitmask.interpret_bit_flags(joined, flag_name_map=hotfit.DQ) == sum(1 << b for b in TABLE.values())


# --- Rules


@pytest.mark.parametrize(
    "nonsense",
    [
        {"hot": np.nan},
        {"hot": np.inf},
        {"hot": "4 e-/s"},
        {"hot": [1, 2]},
        {"fdr": 0},
        {"fdr": 1},
        {"fdr": -0.01},
        {"fdr": np.nan},
        {"fdr": None},
        {"fdr": "1 %"},
        {"tolerance": -0.02},
        {"tolerance": np.nan},
        {"tolerance": np.inf},
        {"tolerance": None},
        {"min_sigma": -1},
        {"min_sigma": np.nan},
        {"min_sigma": np.inf},
        {"min_sigma": "1"},
        {"bad": "HOT,NONLINEAR"},
        {"bad": ("hot",)},
        {"bad": ("HOT", "WARM")},
        {"bad": "DO_NOT_USE"},
        {"bad": (2048,)},
        {"bad": 2048},
        {"bad": None},
    ],
    ids=str,
)
def test_rules_refuse_nonsense(nonsense):
    (name,) = nonsense
    with pytest.raises(HotfitError, match=f"^{name}=") as caught:
        Rules(**nonsense)
    assert "\n" not in str(caught.value)


def test_rules_take_a_name_or_any_row_of_names():
    assert Rules(bad="HOT").bad == ("HOT",)
    for row in (["HOT", "NONLINEAR"], {"HOT": 1, "NONLINEAR": 2}, iter(("HOT", "NONLINEAR"))):
        assert Rules(bad=row).bad == ("HOT", "NONLINEAR")
    assert Rules().bad == ("TELEGRAPH", "NONLINEAR", "UNRELIABLE_SLOPE")
    assert Rules(tolerance=0, min_sigma=0).hot is None
    assert (Rules().fdr, Rules().tolerance, Rules().min_sigma) == (0.01, 0.01, 1)
