"""Programs that tests run as processes, most of them with replaced members of the product."""


def replace_attribute(owner: object, name: str, value: object) -> None:
    """Replace an attribute; raise AttributeError if it does not exist."""
    getattr(owner, name)
    setattr(owner, name, value)
