"""The self-test compares with the definition, and notices what is wrong."""

import keras
import pytest
import reference

from keras_vicregl.commands import doctor
from keras_vicregl.commands.main import main


def test_the_expected_figures_are_those_of_the_definition():
    terms, matches = reference.vicregl(
        *doctor.batch(), num_matches=doctor.NUM_MATCHES
    )
    assert dict(terms) == pytest.approx(doctor.EXPECTED, rel=1e-12)
    # Float32 distances of this batch are right to 1e-6: no match is another.
    assert min(match.margin for match in matches) > 1e-4


def test_all_is_well(capfd):
    assert main(["doctor"]) == 0
    said = capfd.readouterr().out
    assert f"backend: {keras.backend.backend()}" in said
    assert "loss: right, loss 30.82604" in said
    assert "step: right, 3 steps" in said


def test_a_wrong_loss_is_noticed(capfd, monkeypatch):
    monkeypatch.setitem(doctor.EXPECTED, "local_var", 23.95)
    monkeypatch.setattr(doctor, "_test_step", lambda: "not tried")
    assert main(["doctor"]) == 1
    assert "loss: WRONG (ArithmeticError: local_var is 23.94" in (
        capfd.readouterr().out
    )
