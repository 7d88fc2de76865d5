"""Fill a page template of this package: every value is escaped, and the style sheet goes into the page."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from fl_liver.server.report.pieces import Missing


def fill(name: str, **contents: object) -> str:
    """The page that the template `name` makes of its contents; a value that it wants and does not get is an error.

    Only the style sheet of this package is taken as it is. `css` is given to every template.
    """
    environment = Environment(
        loader=FunctionLoader(_own_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["missing"] = lambda value: isinstance(value, Missing)
    css = Markup(_own_text("report.css"))  # noqa: S704  our own file
    return environment.get_template(name).render(css=css, **contents).lstrip()


def _own_text(name: str) -> str:
    return (resources.files("fl_liver.server.report") / name).read_text(encoding="utf-8")
