"""Shared vocabulary: records, plugin loading, identity and errors. Imports no other package.

The Python API is in packages above this one. `public_names` lists its names, which are imported
when they are first used; `__init__.pyi` has their types.
"""

from importlib import import_module


def __getattr__(name: str) -> object:
    """Import a name of the Python API."""
    from stepmark.public_names import PUBLIC_NAMES

    # Also asked for submodules that are not imported yet, and for attributes that no module has.
    if name not in PUBLIC_NAMES:
        raise AttributeError(f"module 'stepmark' has no attribute '{name}'")
    module, _, attribute = PUBLIC_NAMES[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    """Return the names of the Python API, for completion in notebooks."""
    from stepmark.public_names import PUBLIC_NAMES

    return sorted(PUBLIC_NAMES)
