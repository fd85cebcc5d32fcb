"""The library under a reproducibility study of five person re-identification papers."""

import warnings

warnings.filterwarnings("ignore", message="IProgress not found")  # progress bars are text here, without widgets
