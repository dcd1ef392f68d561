"""Bins of confidence, counted one prediction at a time."""

import numpy as np
import pytest

from rankformer.finetuning.calibration import bin_by_confidence, expected_calibration_error


def test_bins_are_those_of_counting():
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.random(200) * 0.7, [0.0, 0.25, 0.5, 1.0, 1 + 1e-7]])
    right = rng.random(len(confidence)) < 0.5
    with np.errstate(all="raise"):
        bins = bin_by_confidence(confidence, right, 8)
    assert bins.columns.tolist() == ["lowest", "highest", "n_cells", "confidence", "accuracy"]
    assert bins["lowest"].tolist() == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]
    assert bins["highest"].tolist() == [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]
    error = 0.0
    for i, row in bins.iterrows():
        first, last = i == 0, i == len(bins) - 1
        own = [
            each
            for each in range(len(confidence))
            if (confidence[each] > row["lowest"] or first)
            and (confidence[each] <= row["highest"] or last)
        ]
        assert row["n_cells"] == len(own)
        if not own:
            assert np.isnan(row["confidence"])
            assert np.isnan(row["accuracy"])
            continue
        accuracy = sum(right[each] for each in own) / len(own)
        mean = sum(confidence[each] for each in own) / len(own)
        assert row["accuracy"] == pytest.approx(accuracy)
        assert row["confidence"] == pytest.approx(mean)
        error += len(own) * abs(accuracy - mean) / len(confidence)
    assert 6 in bins.index[bins["n_cells"] == 0]
    assert expected_calibration_error(bins) == pytest.approx(error)


def test_one_prediction_is_in_one_of_all_bins():
    bins = bin_by_confidence(np.array([0.3]), np.array([True]), 4)
    assert bins["n_cells"].tolist() == [0, 1, 0, 0]
    assert bins["accuracy"][1] == 1.0
    assert bins["confidence"][1] == pytest.approx(0.3)
