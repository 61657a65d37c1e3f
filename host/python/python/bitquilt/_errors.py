"""Exceptions: a class for each kind of error. The sentences are the library's."""


class Error(Exception):
    """Any error of this package."""


class TensorError(Error, ValueError):
    """An array or a shape is no tensor, or not the one that was asked for."""


class UnknownEncodingError(Error, LookupError):
    """No encoding of this name is registered."""


class QuantizeError(Error, ValueError):
    """A tensor was not quantized or decoded."""


class DeclarationError(Error, ValueError):
    """An encoding is declared wrongly."""


class FileError(Error, OSError):
    """A file was not read or written."""


class CheckpointError(Error, ValueError):
    """A file is no checkpoint, or not one that can be used; or it has no such tensor."""


class RecipeError(Error, ValueError):
    """What is wanted of the weights of a file cannot be done."""


class RewriteError(Error, ValueError):
    """A file was not made of another."""


class CompareError(Error, ValueError):
    """There is nothing to compare, or it cannot be done."""


class PlanError(Error, ValueError):
    """No mix of encodings was searched: the size cannot be reached, or nothing can be measured."""


class ImportanceError(Error, ValueError):
    """Importance was not recorded, or is no model's, or not that of the weights."""


class ModelError(Error, ValueError):
    """A file is no language model that is known, or a text cannot be given to it."""


class GraphError(Error, ValueError):
    """A graph cannot be built as asked."""


class SessionError(Error, RuntimeError):
    """A session was not made, or is closed."""


class LoadError(Error, RuntimeError):
    """A graph was not loaded."""


class RunError(Error, RuntimeError):
    """A run failed."""


class ConformanceError(Error, AssertionError):
    """An encoding or an op does not keep what a host relies on."""


class QuantizeWarning(UserWarning):
    """What quantizing has cost is more than a caller may think."""
