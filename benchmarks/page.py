"""docs/performance.md's tables and plot, from the rows of a machine.

python benchmarks/page.py benchmarks/results/MACHINE.json
"""

import json
import math
import sys
from pathlib import Path

from results import convolution_rates

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PLOT = PAGE.parent / "images" / "performance.png"
_MARKS = "<!-- measured: begin -->", "<!-- measured: end -->"
_TITLES = {
    "convolution": "The convolution alone: 64 to 64 channels, 5x5",
    "inference": "Restoring a photograph",
    "train": "A training step",
    "pipeline": "Training samples",
    "video": "Videos",
    "make_blur": "Making blur",
    "start_up": "Start-up",
}
_OURS = "tf_deepdeblur"
_LIMIT = 4.0  # of the plot's axis


def write_page(results: dict, page: Path = PAGE, plot: Path | None = PLOT) -> None:
    """Replaces what stands between the marks of the page, and draws the plot where there are peers."""
    before, rest = page.read_text().split(_MARKS[0])
    after = rest.split(_MARKS[1])[1]
    rows = _sorted(results["rows"])
    groups = _groups(rows)
    parts = [_machine(results)]
    if plot and groups:
        _draw(groups, plot)
        parts.append(f"![Seconds beside the peers, ours = 1](images/{plot.name})")
    parts += _tables(rows, convolution_rates(rows))
    page.write_text("\n\n".join([f"{before}{_MARKS[0]}", *parts, f"{_MARKS[1]}{after}"]))


def _sorted(rows):
    """The least work first, then float32, ours, and the fastest peer."""
    work = {}
    for row in rows:
        rate = next((row[key] for key in row if key.endswith("_per_second")), 0)
        work[row["case"]] = max(work.get(row["case"], 0), rate * row.get("seconds", 0))

    def key(row):
        name, precision = row.get("name", ""), row.get("precision", "")
        return (
            round(work[row["case"]]),
            row["case"],
            precision != "float32",
            name != _OURS,
            row.get("seconds", math.inf),
        )

    return sorted(rows, key=key)


def _machine(results):
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    gpus = f", {', '.join(machine['gpus'])}" if machine["gpus"] else ", no GPU"
    days = sorted({row["date"] for row in results["rows"]})
    return (
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['instruction_sets'])}), "
        f"{machine['memory_gib']} GiB{gpus}; {versions}; {days[-1]}."
    )


def _tables(rows, rates):
    for what, title in _TITLES.items():
        chosen = [row for row in rows if row["what"] == what]
        if chosen:
            yield f"### {title}\n\n{_table(what, chosen, rates)}"


def _table(what, rows, rates):
    columns = {"case": "", "contender": "", "seconds": "s", "cpu": "CPU s", "ratio": "x ours"}
    if what == "convolution":
        columns |= {"rate": "GFLOP/s"}
    elif what in ("inference", "train"):
        columns |= {"rate": "GFLOP/s", "share": "of the convolution's", "peak": "peak GiB", "agreement": "differs by"}
    elif what != "start_up":
        columns |= {"rate": "per second"}
    if not any("cpu_seconds" in row for row in rows):
        del columns["cpu"]
    if all(len({row.get("name") for row in rows if row["case"] == other["case"]}) < 2 for other in rows):
        del columns["ratio"]
    lines = [f"| {' | '.join(columns.values())} |", "|---" * 2 + "|---:" * (len(columns) - 2) + "|"]
    for row in rows:
        cells = _cells(row, rates)
        lines.append(f"| {' | '.join(cells[name] for name in columns)} |")
    return "\n".join(lines)


def _cells(row, rates):
    name = " ".join(filter(None, [row.get("name"), row.get("precision")]))
    cells = dict.fromkeys(("seconds", "cpu", "ratio", "rate", "share", "peak", "agreement"), "")
    cells |= {"case": row["case"], "contender": f"**{name}**" if row.get("name") == _OURS else name}
    if "failed" in row:
        return cells | {"agreement": row["failed"], "seconds": "-"}
    rate = next((row[key] for key in row if key.endswith("_per_second")), None)
    cells["seconds"] = _rounded(row["seconds"])
    cells["ratio"] = f"{row['ratio']:.2f}" if row.get("ratio") else ""
    cells["cpu"] = _rounded(row["cpu_seconds"]) if "cpu_seconds" in row else ""
    cells["rate"] = _rounded(rate)
    if row.get("precision") in rates:
        cells["share"] = f"{100 * rate / rates[row['precision']]:.0f} %"
    cells["peak"] = f"{row['peak_gib']:.2f}" if "peak_gib" in row else ""
    if "max_difference" in row:
        psnr = f", {row['psnr']:.1f} dB" if row["psnr"] else ""
        cells["agreement"] = f"{row['max_difference']} grey levels{psnr}"
    elif "loss_error" in row:
        cells["agreement"] = f"{100 * row['loss_error']:.2g} % of the loss"
    return cells


def _rounded(value):
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _groups(rows):
    """The rows of each (kind of work, case, precision) in which there are peers."""
    groups = {}
    for row in rows:
        if row["what"] in ("inference", "train") and row.get("ratio"):
            groups.setdefault((row["what"], row["case"], row["precision"]), []).append(row)
    return {key: group for key, group in groups.items() if len(group) > 1}


def _draw(groups, path):
    """Bars of seconds relative to ours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["name"] for group in groups.values() for row in group))
    colours = dict(zip(names, pyplot.colormaps["tab10"].colors, strict=False))
    bars = sum(len(group) + 1 for group in groups.values())
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.19 * bars), layout="constrained")
    place, ticks = 0, {}
    for (what, case, precision), group in groups.items():
        ticks[place + (len(group) - 1) / 2] = f"{'restore' if what == 'inference' else what} {case}\n{precision}"
        for row in group:
            axes.barh(place, min(row["ratio"], _LIMIT), color=colours[row["name"]], height=0.9)
            label = f"{row['ratio']:.2f}  ({_rounded(row['seconds'])} s)"
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # hides the line below it
            axes.text(min(row["ratio"], _LIMIT) + 0.02, place, label, va="center", fontsize=7, bbox=behind)
            place += 1
        place += 1
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.set_ylim(place - 1, -1)
    longest = max(row["ratio"] for group in groups.values() for row in group)
    axes.set_xlim(0, min(longest, _LIMIT) + 0.5)
    axes.set_xlabel("time, ours = 1; longer bars are slower")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colours[name]) for name in names]
    figure.legend(handles, names, loc="outside upper center", ncols=min(3, len(names)), fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    write_page(json.loads(Path(sys.argv[1]).read_text()))
