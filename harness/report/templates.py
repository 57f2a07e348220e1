"""The templates of the pages, and what all of them share."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


def rendered(template: str, **values: object) -> str:
    """Return a page.

    Args:
        template: the name of a file in this folder, such as ``page.html``.
        values: what the template names.
    """
    environment = Environment(
        loader=ChoiceLoader(
            # theme.css is that of the page of 'warpguard evaluate'
            [PackageLoader("harness", "report"), PackageLoader("service", "evaluate")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    return environment.get_template(template).render(values)


def _prose(text: str) -> Markup:
    """Return a text whose `names` are marked as such."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )
