"""Finding the user's `Observatory` from what was named on the command line."""

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

import observatory
from observatory.core.application import Observatory
from observatory.interfaces.cli.output import Mistake


def find_application(name: str) -> Observatory:
    """The application in `MODULE`, `MODULE:attribute` or `path/to/module.py[:attribute]`.

    Raises:
        Mistake: there is no such module or attribute, it cannot be imported, or it holds no
            application or several.
    """
    module_name, _, attribute = name.partition(":")
    module = _import(module_name)
    return _named(module, attribute) if attribute else _only_one(module)


def _import(name: str) -> ModuleType:
    # As `python -m` does: a module beside the user is found without installing it.
    # By its full path, which goes on to be right when a handler changes the working folder.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a script that was not meant to be imported exits
        raise Mistake(_why_not_imported(name, error)) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModuleNotFoundError(name=str(path))
    sys.path.insert(0, str(path.absolute().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path.absolute())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded as a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # type hints are resolved through it
    spec.loader.exec_module(module)
    return module


def _why_not_imported(name: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
        if name.endswith(".py"):
            return f"there is no file {name}"
        return f"there is no module {name!r} here ({Path.cwd()}) or in the environment"
    if isinstance(error, ValueError | TypeError) and not name.strip("."):
        return f"{name!r} is not the name of a module"
    frames = traceback.extract_tb(error.__traceback__)
    # Where the user's code called ours with something it cannot take, the line to mend is theirs.
    own = str(Path(observatory.__file__).parent)
    place = next((f for f in reversed(frames) if not f.filename.startswith(own)), frames[-1])
    text = " ".join(str(error).split())
    return (
        f"{name} cannot be imported: {type(error).__name__}: {text} "
        f"({place.filename}, line {place.lineno})"
    )


def _named(module: ModuleType, attribute: str) -> Observatory:
    found = getattr(module, attribute, None)
    if not isinstance(found, Observatory):
        what = "no" if found is None else f"a {type(found).__name__}, not an Observatory, as"
        raise Mistake(f"{module.__name__} has {what} {attribute!r}{_suggestion(module)}")
    return found


def _only_one(module: ModuleType) -> Observatory:
    applications = _applications(module)
    if len({id(found) for found in applications.values()}) == 1:
        return next(iter(applications.values()))
    if applications:
        names = ", ".join(f"{module.__name__}:{name}" for name in applications)
        raise Mistake(f"{module.__name__} holds several applications; name one: {names}")
    raise Mistake(
        f"{module.__name__} holds no application; it needs a line such as `app = Observatory()`"
    )


def _suggestion(module: ModuleType) -> str:
    names = ", ".join(_applications(module))
    return f"; it has: {names}" if names else ""


def _applications(module: ModuleType) -> dict[str, Observatory]:
    return {n: value for n, value in vars(module).items() if isinstance(value, Observatory)}
