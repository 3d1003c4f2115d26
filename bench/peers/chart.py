"""A chart of ratios as SVG: a bar for each, a mark where its target is, light or dark as the page is."""

from html import escape

from peers.report import Claim, number

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 960, 440, 150
ROW, BAR, HEADING = 26, 12, 40
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 } .heading { font-weight: 600 } .note { fill: #59636e; font-size: 12px }
  .met { fill: #1a7f37 } .missed { fill: #bc4c00 } .plain { fill: #8c959f }
  .target { stroke: #1f2328; stroke-width: 2 } .axis { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .note { fill: #9198a1 }
    .met { fill: #3fb950 } .missed { fill: #f0883e } .plain { fill: #656c76 }
    .target { stroke: #f0f6fc } .axis { stroke: #3d444d }
  }
"""


def svg(title: str, found: list[Claim]) -> str:
    """Speeds over those of peers, and shares in percent, each group on a scale of its own."""
    groups = [
        ("times as fast", [claim for claim in found if claim.unit == "×"]),
        ("percent; an open mark is a target to stay below", [claim for claim in found if claim.unit == "%"]),
    ]
    body, y = [text(0, 20, title, "title")], HEADING
    for heading, members in groups:
        if members:
            body += [text(0, y + 16, heading, "heading"), *rows(members, y + ROW)]
            y += ROW * (len(members) + 1) + HEADING // 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img">'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def rows(members: list[Claim], top: int) -> list[str]:
    """A row for each claim, on a scale that ends at the greatest value or target."""
    scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / max(max(claim.value.median, claim.target or 0) for claim in members)
    bottom = top + ROW * len(members)
    drawn = [f'<line class="axis" x1="{LABEL_WIDTH}" x2="{LABEL_WIDTH}" y1="{top}" y2="{bottom}"/>']
    for index, claim in enumerate(members):
        drawn += row(claim, top + ROW * index, scale)
    return drawn


def row(claim: Claim, top: int, scale: float) -> list[str]:
    kind = {None: "plain", True: "met", False: "missed"}[claim.met()]
    length, middle = scale * max(claim.value.median, 0), top + ROW / 2
    drawn = [
        text(LABEL_WIDTH - 8, middle + 4, claim.what, end=True),
        f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{middle - BAR / 2}" width="{length:.1f}" height="{BAR}" rx="2"/>',
    ]
    after = length
    if claim.target is not None:
        at = scale * claim.target
        after = max(length, at)
        dash = "" if claim.at_least else ' stroke-dasharray="3 2"'
        x, above, below = LABEL_WIDTH + at, middle - BAR / 2 - 4, middle + BAR / 2 + 4
        drawn.append(f'<line class="target" x1="{x:.1f}" x2="{x:.1f}" y1="{above}" y2="{below}"{dash}/>')
    value = f"{number(claim.value.median)}{claim.unit}"
    note = f"{value} ({claim.target_text()})" if claim.target is not None else value
    return [*drawn, text(LABEL_WIDTH + after + 8, middle + 4, note, "note")]


def text(x: float, y: float, content: str, kind: str = "", end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}"{anchor}>{escape(content)}</text>'
