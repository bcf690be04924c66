r"""Text of multi-line fields: dotted as it stands in a log and is kept, undotted and readable as it is shown.

Logs are kept dotted because taking the dots out costs more than reading, hashing and compressing together,
and almost nobody ever looks at the log of a test that passed.
"""


def dotted(text: bytes) -> bytes:
    """The lines of a multi-line field that says `text`; the line end of the last is not added."""
    return (
        b"." + text.removesuffix(b"\n").replace(b"\n", b"\n.") + text[len(text.removesuffix(b"\n")) :] if text else b""
    )


def undotted(lines: bytes) -> bytes:
    """The text that the dotted `lines` of a multi-line field say."""
    return lines[1:].replace(b"\n.", b"\n")


def readable(text: bytes) -> str:
    r"""Text that anything can show: bytes that are not UTF-8 as \xff escapes, NUL as the two characters \0.

    Source: the PDK log format, Syntax.
    """
    if b"\0" in text:
        text = text.replace(b"\0", b"\\0")
    return text.decode("utf-8", "backslashreplace")


def encodable(text: str) -> str:
    r"""Text that UTF-8 can write: bytes of a file's name, or of a variable, that are no text as \xff escapes."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return text.encode("utf-8", "backslashreplace").decode()


def in_one_line(text: str) -> str:
    r"""Text that can be printed and stays in its line, as a file's name need not: \n and the like as escapes."""
    if text.isprintable():
        return text
    signs = encodable(text)
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in signs)


def counted(number: int, what: str, several: str = "") -> str:
    """A number of things: 1 test, 1,204 tests; `several`: what they are called where that is not `what` with an s."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"
