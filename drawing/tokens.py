"""A text as its tokens, each with a colour for its number: HTML, which wraps at any width."""

from collections.abc import Mapping, Sequence
from typing import Any

from drawing.svg import escape

# `--up` and `--down` are colours that lie under text; `--a` is how strongly.
CSS = (
    ".tokens{line-height:2.1;overflow-wrap:anywhere;font-family:ui-monospace,'DejaVu Sans Mono',monospace;"
    "font-size:.95rem}.token{margin:0 1px;padding:2px 3px;border-radius:3px;unicode-bidi:isolate;"
    "background:color-mix(in srgb,var(--under,transparent) calc(var(--a,0)*100%),transparent)}"
    ".token.up{--under:var(--up)}.token.down{--under:var(--down)}.token.read{outline:2px solid var(--c0)}"
)


def strip(
    tokens: Sequence[str | Mapping[str, Any]], values: Sequence[float | None], *, desc: str, notes: Sequence[str] = (),
    read: int | None = None, most: float | None = None,
) -> str:  # fmt: skip
    """Tokens (texts, or {"text", "bytes"}) coloured by `values`: above zero `--up`, below `--down`, the larger
    the stronger.

    `most`: what has the full colour (default: the largest here); `notes`: what is told of each when one points at it;
    `read`: the index of the token that gets a frame; `desc`: says what the colours mean.
    """
    top = most or max((abs(v) for v in values if v is not None), default=0) or 1
    spans = []
    for i, token in enumerate(tokens):
        value = values[i] if i < len(values) else None
        klass, style = "token", ""
        if value:
            klass += " up" if value > 0 else " down"
            style = f' style="--a:{min(1.0, abs(value) / top):.2f}"'
        klass += " read" * (i == read)
        note = f' title="{escape(notes[i])}"' if i < len(notes) else ""
        spans.append(f'<span class="{klass}"{style}{note}>{escape(seen(token))}</span>')
    return f'<p class="tokens" role="group" aria-label="{escape(desc)}">{"".join(spans)}</p>'


def seen(token: str | Mapping[str, Any]) -> str:
    """A token with what has no ink made visible: a space is ·, a line's end ⏎, a tab →.

    Of a token given as {"text", "bytes"} whose bytes are no whole character, the bytes: ‹f0‹9f.
    """
    if not isinstance(token, str):
        broken = "\ufffd" in token["text"] and token.get("bytes")
        token = "".join(f"‹{b:02x}" for b in token["bytes"]) if broken else token["text"]
    token = token.replace("\r\n", "⏎").replace("\n", "⏎").replace("\r", "⏎").replace("\t", "→").replace(" ", "·")
    return "".join(c if c.isprintable() else "\ufffd" for c in token) or "\ufffd"
