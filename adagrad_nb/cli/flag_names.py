"""Flags in the place of arguments in error messages."""

import re

# Arguments of the functions in error messages, and the flags that set them, as regular expressions.
_FLAGS: tuple = (
    (r"^(lr|loss|rule|passes|shuffle|normalized|invariant|average|threads|classes): ", r"--\1: "),
    (r"^(bits|hash|quadratic|delimiter|label|weight|positive|header|quote|missing|signed|norm): ", r"--\1: "),
    (
        r"^(batch_size|early_stopping|class_weight|standardize_targets|on_error|chunk_bytes|chunk_rows|n_features): ",
        lambda match: f"--{match[1].replace('_', '-')}: ",
    ),
    (r"^ngrams: ", "--ngrams: "),
    (r"^ledger: ", "--certificate: "),
    (r"^class_weight\[(['\"])(.*?)\1\]: ", r"--class-weight: \2: "),
    (r"^class_weight\[(.*?)\]: ", r"--class-weight: \1: "),
    (r"^Polyak\.start: ", "--average: "),
    (r"^columns: ", "--column: "),
    (r"^columns\[(['\"])(.*?)\1\]: ", r"--column: \2: "),
    (
        r"\bcolumns=\{'(.*?)': 'numeric'\} for days, 'one_hot' for categories, or 'ignore'",
        r"--column '\1=numeric' for days, one_hot for categories, or ignore",
    ),
    (r"\bcolumns=\{'(.*?)': '(\w+)'\}", r"--column '\1=\2'"),
    (r"\bdelimiter=…, such as delimiter=", "--delimiter, such as --delimiter "),
    (r"\bpass delimiter, or label=None if there are no labels", "pass --delimiter"),
    (r", or pass label=None if there are no labels", ""),
    (r"\bheader=\[…\]", "--header NAMES"),
    (r"\bheader=False\b", "--header no"),
    (r"\bread it with read_(svmlight|vw|text|csv|parquet|cache)\b", r"pass --format \1"),
    (r"\bbits=(\d+)", r"--bits \1"),
    (r"(?<!with all )\bclasses=\[…\]", "--classes"),
    (r"\blr='auto'", "--lr auto"),
    (r"\bshuffle=True with chunks that hold many rows", "--shuffle with a large --chunk-bytes"),
    (r"\bquote=None\b", "--quote none"),
    (r"\bn_features=", "--n-features "),
    (r"\bstandardize_targets=True\b", "--standardize-targets"),
    (r"\buse dtype=float64\b", "omit --float32"),
    (r"^interactions: ", "--interaction: "),
    (r"^rng: ", "--seed: "),
    (r"^intercept: ", "--no-intercept: "),
    (r"^dtype: ", "--float32: "),
    (r"^(?:L1|L2)\.strength: |^ElasticNet\.l[12]: ", lambda match: f"--{'l1' if '1' in match[0] else 'l2'}: "),
    (r"^(?:Adagrad|Adadelta|RDA)\.eps: ", "--eps: "),
    (r"^\w+\.(?:tau|delta|gamma|epsilon): ", "--loss-parameter: "),
    (r"^[Xy]: ", "DATA: "),
    (r"\bwith zero_based=False\b", "without --zero-based"),
    (r"\bzero_based=True\b", "--zero-based"),
    (r"\bduplicates='sum'", "--duplicates sum"),
    (r"\bpass dtype=np\.float64\b|\bleave dtype out\b", "omit --float32"),
    (r"\bleave lr out\b", "omit --lr"),
    (r"\ba smaller lr\b", "a smaller --lr"),
    (r"(?<!has )\b(normalized|invariant)=False\b", r"omit --\1"),
    (r"\bAdagrad\(…\)", "--rule adagrad"),
    (r"; use False, or train\b", "; omit it, or train"),
    (r"\bL1, Box, NonNegative or Bounded\(L1\(…\)\)", "--l1"),
    (r"\bwith all classes=\[…\]", "with all labels in --classes"),
    (r"\ba loss for numbers such as 'squared'", "a loss for numbers such as --loss squared"),
    (r"\bscale (?:the columns of )?X(?:, y or sample_weight)?\b", "scale the data"),
)


def name_flags(message: str) -> str:
    """Return an error message of the package with the flags of the command line in place of arguments.

    Parameters
    ----------
    message : str

    Returns
    -------
    str
    """
    for pattern, replacement in _FLAGS:
        message = re.sub(pattern, replacement, message)
    return message
