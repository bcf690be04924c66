"""What one reader should see of a comparison: chosen, folded and cut to length; then as text or as a page.

    document = report.build(comparison, projects={"calib"}, kind=report.Kind.CHANGES, most_lines=50)
    document.subject                  # "[pdk] calib daily_2026-11-23: 3 newly failing, 1 host silent, 12 missing"
    report.render_text(document)      # 80 columns
    report.render_html(document)      # one page for a mail client or a browser; wants the `server` extra
    told = document.told              # JSON-able: keep it with the mail
    report.addendum(later_comparison, told, projects={"calib"})   # only what changed since

Nothing here touches the database.
"""

from pdk_pipeline.report.build import Wish, addendum, build
from pdk_pipeline.report.document import Document, Kind
from pdk_pipeline.report.html import render_html
from pdk_pipeline.report.text import render_text

__all__ = ["Document", "Kind", "Wish", "addendum", "build", "render_html", "render_text"]
