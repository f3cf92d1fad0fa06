"""Prediction beside measurement: what bench/model.py says of each stage."""

import model

import rows
from sets import amount, cell_words


def figure_rows(data, suite, cell, found):
    """Two rows a stage: measured, and predicted from counts and prices."""
    measured = {r.server: r for r in rows.rows_of(data, suite, cell, "cpu_us",
                                                  "us")}
    for f in found:
        row = measured[f["server"]]
        yield row
        yield rows.Row(row.server, "predicted", row.colour, row.marker,
                       [f["predicted_us"], None, None], (),
                       f"{amount(f['predicted_us'], 'us')} "
                       f"({f['error_pct']:+.0f} %)", True)


def of_cell(data, suite, cell):
    """(rows, words) of a cell; None where the set lacks prices or counts."""
    try:
        found = model.predict(data.manifest, data.rows, data.summary)
    except model.Missing:
        return None
    ours = [f for f in found if (f["suite"], f["cell"]) == (suite, cell)]
    if not ours:
        return None
    return (list(figure_rows(data, suite, cell, ours)),
            f"{cell_words(cell)}: CPU time of a request as measured and, "
            f"hollow, as the counts of each stage times the prices of this "
            f"machine say. Over all cells: {model.errors_text(found)}")
