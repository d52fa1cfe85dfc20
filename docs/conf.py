"""Sphinx: MyST Markdown, reference pages made from the code of this checkout. Nothing is fetched."""

import re
import sys
from pathlib import Path
from typing import Any, ClassVar

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "src")]

from pygments.lexer import RegexLexer  # noqa: E402
from pygments.token import Generic, Text  # noqa: E402

from bitline.core.version import __version__  # noqa: E402  # found by the line above
from docs.generate.site import write  # noqa: E402

write(HERE)

project = "bitline"
version = release = __version__
copyright = "the authors of bitline, Apache-2.0"
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "decisions", "generated"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of numpy and of rooms below the API have no pages here

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"Feeds": "Feeds", "Array": "Array", "Json": "Json"}
default_role = "code"
smartquotes = False  # two dashes are an option here


def _short_aliases(
    app: object, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Sphinx prints a type alias inside a union as `TypeAliasForwardRef('Feeds')`: only its name is wanted."""
    named = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
    return named.sub(r"\1", signature or "") or None, named.sub(r"\1", returned or "") or None


class Session(RegexLexer):
    """A console: lines behind `$ ` are commands, a backslash carries one on; whatever else is output, `#` included."""

    tokens: ClassVar = {
        "root": [(r"\$ ", Generic.Prompt, "command"), (r".*\n", Generic.Output)],
        "command": [(r".*\\\n", Text), (r".*\n", Text, "#pop")],
    }


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _short_aliases)
    app.add_lexer("console", Session)


html_theme = "furo"
html_title = f"bitline {__version__}"
html_static_path = ["static"]
html_css_files = ["bitline.css"]
html_js_files = ["bitline.js"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1a5f7a", "color-brand-content": "#1a5f7a"},
    "dark_css_variables": {"color-brand-primary": "#7cc4dc", "color-brand-content": "#7cc4dc"},
}
html_copy_source = False
html_show_sourcelink = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
