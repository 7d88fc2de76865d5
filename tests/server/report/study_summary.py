"""A seeded summary of a 13-hospital study, for the report's tests; its numbers are drawn, not measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

DEVICES = ("Esaote MyLab 70", "Philips EPIQ 7", "GE LOGIQ E9", "SIEMENS ACUSON S2000", "TOSHIBA Aplio 500")
SEPARATION = {"federated": 1.55, "local_only": 0.95, "pooled": 1.7, "fusion": 1.95}
FACTORS = {
    "age_60": ("Age ≥ 60 years", 1.1),
    "male": ("Male", 0.8),
    "hepatitis": ("History of hepatitis", 2.3),
    "tumour_history": ("Extra-hepatic tumour history", 2.8),
    "halo": ("Hypoechoic halo", 2.9),
    "vascularity": ("Intratumoral vascularity", 0.65),
    "posterior_enhancement": ("Posterior enhancement", -0.7),
    "left_lobe": ("Left lobe", 0.1),
}


def study_summary(seed: int = 2020) -> dict[str, Any]:
    """A complete summary of `lesion_us_fusion`: 11 training and 2 external hospitals, four models."""
    random = np.random.default_rng(seed)
    sites = _sites(random)
    models = {name: _model(name, random) for name in SEPARATION}
    models["federated"]["per_site"] = {
        site["name"]: _site_auc(site, random) for site in sites if site["name"] not in ("H04", "H08")
    } | {"H04": {"not_released": "hospital H04 did not consent"}, "H08": {"not_released": "fewer than 5 positives"}}
    return {
        "study": "lesion_us_fusion",
        "title": "Focal liver lesions in B-mode ultrasound, 13 hospitals",
        "source": "Yang et al., EBioMedicine 56 (2020) 102777",
        "study_sha256": "5b1f0c" + "a7" * 29,
        "seed": seed,
        "secure_sum": "plain",
        "software": {
            "fl_liver": "0.1.0",
            "flwr": "1.41.0",
            "numpy": "2.2.6",
            "torch": "2.13.0+cpu",
            "python": "3.11.2",
        },
        "incomplete": None,
        "task": {"positive": ["malignant"], "negative": ["benign"]},
        "sites": sites,
        "rounds": [_round(k, random) for k in range(1, 16)],
        "models": models,
        "fusion": _fusion(random),
        "comparisons": [
            _comparison("federated", "local_only", "external", 0.101),
            _comparison("fusion", "federated", "external", 0.043),
            _comparison("federated", "pooled", "internal", -0.012),
        ],
        "analysis": {
            "leave_one_centre_out": [
                {"left_out": "H01", "auc": 0.871, "ci95": [0.8, 0.94], "n": 120, "positives": 69},
                {"left_out": "H02", "not_released": "a class has fewer than 5 patients"},
            ],
            "within_centre": {"auc": 0.858, "ci95": [0.81, 0.906], "tau2": 0.0031, "prediction95": [0.74, 0.98]},
            "size_20_50": {"n": 312, "sensitivity": [0.81, 0.75, 0.86], "curve": list(range(40))},
        },
        "seconds": {"phantom": 21.4, "training": 96.2, "baselines": 41.0, "evaluation": 6.3},
        "peak_rss_mb": 2210.4,
    }


def multiclass_summary() -> dict[str, Any]:
    """A clinical table study with five classes, no images, no fusion."""
    labels = ["HCC", "metastasis", "cholangiocarcinoma", "haemangioma", "FNH"]
    counts = [[41, 5, 2, 1, 0], [6, 30, 4, 2, 1], [3, 7, 14, 0, 1], [1, 1, 0, 38, 3], [0, 2, 1, 4, 19]]
    summary = study_summary()
    part = {
        "auc": 0.91,
        "ci95": [0.87, 0.95],
        "n": 187,
        "positives": 112,
        "per_class": {
            label: {"auc": 0.95 - 0.02 * k, "ci95": [0.9 - 0.02 * k, 0.98]} for k, label in enumerate(labels)
        },
        "confusion": {"labels": labels, "counts": counts},
    }
    models = {"federated": {"internal": part, "external": part, "per_site": {}}}
    return {**summary, "title": "Clinical model, five classes", "models": models, "fusion": None, "comparisons": []}


def sample_images(sites: int = 13) -> Mapping[str, list[NDArray[np.uint8]]]:
    """Three speckled 64 × 64 images with a dark disc for each hospital."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    return {
        f"H{site:02d}": [
            (random.rayleigh(60, (64, 64)) * np.where(x**2 + y**2 < 0.3, 0.5, 1)).clip(0, 255).astype(np.uint8)
            for _ in range(3)
        ]
        for site in range(1, sites + 1)
    }


def _sites(random: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {
            "name": f"H{k:02d}",
            "role": "train" if k < 12 else "external",
            "patients": (n := int(random.integers(30, 120))),
            "positives": n * 2 // 5,
            "excluded": int(random.integers(0, 4)),
            "device": DEVICES[k % len(DEVICES)],
        }
        for k in range(1, 14)
    ]


def _site_auc(site: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    auc, half = float(random.uniform(0.76, 0.95)), float(random.uniform(0.05, 0.14))
    return {
        "auc": auc,
        "ci95": [auc - half, min(1.0, auc + half)],
        "n": site["patients"],
        "positives": site["positives"],
    }


def _model(name: str, random: np.random.Generator) -> dict[str, Any]:
    drop = {"internal": 0.0, "external": 0.15}
    model: dict[str, Any] = {part: _part(name, SEPARATION[name] - drop[part], part) for part in drop}
    if name in ("federated", "fusion"):
        model["calibration"] = {part: _calibration(random) for part in drop}
        model["cutoff"] = {
            "threshold": -0.213,
            "rows": "calibration",
            "sensitivity": [0.861, 0.78, 0.92],
            "specificity": [0.823, 0.75, 0.88],
            "internal": {"sensitivity": [0.842, 0.74, 0.91], "specificity": [0.807, 0.72, 0.87]},
            "external": {"sensitivity": [0.793, 0.69, 0.87], "specificity": [0.786, 0.70, 0.86]},
        }
    return model


def _part(name: str, separation: float, part: str) -> dict[str, Any]:
    fpr = np.linspace(0, 1, 41)
    tpr = norm.cdf(separation + norm.ppf(fpr))
    auc, half = float(norm.cdf(separation / np.sqrt(2))), 0.045
    measured: dict[str, Any] = {
        "auc": auc,
        "ci95": [auc - half, min(1.0, auc + half)],
        "se": half / 1.96,
        "n": 178 if part == "internal" else 164,
        "positives": 71 if part == "internal" else 66,
        "roc": {"fpr": fpr.tolist(), "tpr": tpr.tolist()},
    }
    if name == "local_only":
        return {**measured, "ci95": None, "se": None}
    measured["roc"] |= {
        "tpr_low": norm.cdf(separation - 0.25 + norm.ppf(fpr)).tolist(),
        "tpr_high": norm.cdf(separation + 0.25 + norm.ppf(fpr)).tolist(),
    }
    return measured


def _calibration(random: np.random.Generator) -> dict[str, Any]:
    predicted = np.linspace(0.04, 0.95, 10) ** float(random.uniform(1.0, 1.8))
    observed = np.clip(predicted + random.normal(0, 0.06, 10), 0, 1)
    return {
        "mean_pred": predicted.tolist(),
        "obs_rate": observed.tolist(),
        "n": random.integers(14, 20, 10).tolist(),
        "slope": 0.93,
        "intercept": -0.08,
        "brier": 0.136,
    }


def _round(k: int, random: np.random.Generator) -> dict[str, Any]:
    return {
        "round": k,
        "seconds": 6.2,
        "sites_expected": 11,
        "sites_answered": 10 if k == 7 else 11,
        "loss": 0.3 + 0.42 * float(np.exp(-k / 4)) + float(random.normal(0, 0.008)),
        "internal_auc": 0.915 - 0.35 * float(np.exp(-k / 3)) + float(random.normal(0, 0.006)),
    }


def _term(name: str, label: str, beta: float, se: float) -> dict[str, Any]:
    z = beta / se
    odds = [float(np.exp(beta + q * se)) for q in (0, -1.96, 1.96)]
    p = float(2 * norm.sf(abs(z)))
    return {
        "name": name,
        "label": label,
        "beta": beta,
        "se": se,
        "z": z,
        "p": p,
        "odds_ratio": odds[0],
        "or_ci95": odds[1:],
    }


def _fusion(random: np.random.Generator) -> dict[str, Any]:
    single = [_term(name, label, beta, float(random.uniform(0.2, 0.5))) for name, (label, beta) in FACTORS.items()]
    kept = [_term(t["name"], t["label"], t["beta"] * 0.9, t["se"] * 1.2) for t in single if t["p"] < 0.05]
    start = _term("(Intercept)", "Intercept", -2.31, 0.41)
    score = _term("score", "Network score, per unit of log-odds", 1.02, 0.16)
    return {
        "screening": [{**term, "selected": term["p"] < 0.05} for term in single],
        "multivariable": {"terms": [start, *kept], "n": 214, "method": "newton"},
        "fused": {"terms": [start, score, *kept], "n": 214, "method": "newton"},
    }


def _comparison(a: str, b: str, rows: str, difference: float) -> dict[str, Any]:
    interval = [difference - 0.05, difference + 0.05]
    p = float(2 * norm.sf(abs(difference) / 0.0255))
    return {
        "name": f"{a} against {b}",
        "a": a,
        "b": b,
        "rows": rows,
        "difference": difference,
        "ci95": interval,
        "p": p,
    }
