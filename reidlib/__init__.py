"""The library under a reproducibility study of five person re-identification papers."""
