"""The rows of docs/figures.md that the benchmarks of extraction and of the store give."""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, str]


def _decode(decode: dict[str, Any]) -> list[Row]:
    rows = []
    for what, part in (("", decode), (", 12-megapixel JPEGs", decode["12_megapixels"])):
        fast, plain = part["rates"]["fxengine"], part["rates"]["plain Pillow"]
        ratio, agree = part["ratio"], part["agreement"]
        rows.append(
            (
                f"decode + resize{what}, one core, images/s",
                f"{fast['best']:.0f} best, {fast['median']:.0f} median; plain Pillow {plain['best']:.0f}, "
                f"{plain['median']:.0f}: **{ratio['best']:.2f}x, {ratio['median']:.2f}x**; to Pillow: mean pixel "
                f"difference {agree['mean_pixel_difference']:.2f} of 255, feature cosine {agree['mean_cosine']:.5f} "
                f"(worst {agree['worst_cosine']:.5f})",
                "`scripts/bench decode`",
            )
        )
    return rows


def _extract(extract: dict[str, Any]) -> list[Row]:
    rows = []
    for run in extract["runs"].values():
        rates, share, way = run["rates"], run["share_of_limit"], run["way"]
        rows.append(
            (
                f"end to end, {run['backbone']}, {run['precision']} ({way['runtime']} in {way['precision']}), images/s",
                f"{rates['end to end']['best']:.0f} best, {rates['end to end']['median']:.0f} median (decode alone "
                f"{rates['decode alone (D)']['median']:.0f}, model alone {rates['model alone (M)']['median']:.0f}): "
                f"**{share['best']:.0%}, {share['median']:.0%} of the limit** 1/(1/D + 1/M)",
                f"`python -m bench.extract --backbone {run['backbone']} --precision {run['precision']}`",
            )
        )
    return rows


def _peers(peers: dict[str, Any]) -> list[Row]:
    rates = peers["rates"]
    found = "; ".join(f"{name} {row['best']:.1f}, {row['median']:.1f}" for name, row in rates.items())
    ratio = peers["ratio_to_best_peer"]
    times = ", ".join(f"{name} **{row['best']:.2f}x, {row['median']:.2f}x**" for name, row in ratio.items())
    allowed = peers.get("ratio_that_the_limit_allows", {})
    if allowed:
        times += "; the limit 1/(1/D + 1/M) would allow " + ", ".join(
            f"{name} {row['best']:.2f}x, {row['median']:.2f}x" for name, row in allowed.items()
        )
    if "ratio_of_auto_to_bf16_peer" in peers:
        row = peers["ratio_of_auto_to_bf16_peer"]
        times += (
            f"; auto ({peers['auto']['precision']}) of the peer in bf16 **{row['best']:.2f}x, {row['median']:.2f}x**"
        )
    large = " --large" if peers["large"] else ""
    what = "12-megapixel photos" if large else "photos"
    return [
        (
            f"end to end against peers, {peers['net']}, {peers['photos']} {what}, images/s (best, median)",
            f"{found}. Of the fastest peer in fp32: {times}",
            f"`python -m bench.peers --net {peers['net']}{large}`",
        )
    ]


def _precision(precision: dict[str, Any]) -> list[Row]:
    return [
        (
            f"a probe's accuracy on {name} by precision",
            "; ".join(
                f"{kind} {row['accuracy']['mean']:.1%} (cosine to fp32 {row['mean_cosine']:.5f})"
                for kind, row in rows.items()
            ),
            "`scripts/bench precision`",
        )
        for name, rows in precision["sets"].items()
    ]


def _memory(memory: dict[str, Any]) -> list[Row]:
    peaks = {int(count): peak / 1e6 for count, peak in memory["peak_bytes"].items()}
    text = ", ".join(f"{peak:.0f} MB at {count:,} inputs" for count, peak in sorted(peaks.items()))
    rows = [("peak memory of an extraction", text, "`scripts/bench memory`")]
    odd = memory.get("odd_images")
    if odd:
        figure = f"peak {odd['peak_bytes'] / 1e6:.0f} MB, slowest file {odd['slowest_decode_s']:.1f} s"
        rows.append(("522 odd images (bombs, truncated, ...), 4 decoders", figure, "`scripts/bench memory`"))
    listing = memory["listing"]
    rows.append(
        (
            "listing a folder",
            f"{listing['files']:,.0f} files in {listing['seconds']:.0f} s, "
            f"{listing['bytes_per_file']:.1f} bytes of memory a file",
            "`scripts/bench memory`",
        )
    )
    return rows


def _store(store: dict[str, Any]) -> list[Row]:
    ratio, rates = store["ratio"], store["rates_gb_s"]
    return [
        (
            "reading a store, GB/s",
            f"`vectors()` {rates['vectors()']['best']:.2f} best, {rates['vectors()']['median']:.2f} median "
            f"({ratio['vectors() / pyarrow']['median']:.2f}x pyarrow's own read); mapped copy "
            f"{rates['vectors(mmap=True), copied']['median']:.1f} "
            f"({ratio['mapped / copy in memory']['median']:.0%} of a copy in memory)",
            "`scripts/bench store`",
        )
    ]


def _store_bucket(found: dict[str, Any]) -> list[Row]:
    seconds = {name: each["median"] for name, each in found["seconds"].items()}
    return [
        (
            f"a search of a store of {found['rows']:,} rows in a bucket that answers 20 ms late, s (medians of "
            f"{found['rounds']})",
            f"first {seconds['bucket, first']:.1f}, second {seconds['bucket, second']:.1f}; of the store in a folder "
            f"{seconds['folder, first']:.1f} and {seconds['folder, second']:.1f}",
            "`python -m bench.store`, part `bucket`",
        )
    ]


def _update(update: dict[str, Any]) -> list[Row]:
    times = update["times_the_walk"]
    return [
        (
            f"a run with nothing to do, {update['files']:,} files",
            f"{update['files'] / update['rates']['run with nothing to do']['median']:.1f} s, "
            f"**{times['best']:.2f}x, {times['median']:.2f}x** walking and stat-ing them in Python; "
            f"{update['bytes_per_known_row']:.0f} bytes of memory a known row",
            "`scripts/bench update`",
        )
    ]


def _serve(serve: dict[str, Any]) -> list[Row]:
    return [
        (
            f"the page over {serve['rows']:,} rows x 1280",
            f"first rows {serve['first_rows_s']:.2f} s after the link; thumbnails of 12-megapixel photos at "
            f"{serve['of_pillow']:.2f} of the rate of Pillow's scaled decoding alone, 200 kept ones in "
            f"{serve['kept_200_s']:.2f} s; search by a picture of 12 megapixels {serve['search_ms']} ms; "
            f"{serve['people']} people scrolling: a kept thumbnail in {serve['scroll_p95_ms']} ms (95%); "
            f"a round of labelling {serve['label_round_s']:.1f} s; {serve['peak_own_mb']} MB of memory, mapped files "
            "not counted",
            "`scripts/bench serve`",
        )
    ]


def _label(label: dict[str, Any]) -> list[Row]:
    rounds = ", ".join(f"{took['median']:.1f} s with {int(count):,}" for count, took in label["round"].items())
    gains = "; ".join(
        f"{name} {right['doubt']:.1%}, at random {right['random']:.1%}, most different {right['different']:.1%}"
        for name, right in label["gain"].items()
    )
    return [
        (
            f"a round of labelling over {label['rows']:,} rows x 1280",
            f"{rounds} labels; named rightly after 60 answers by the page's order: {gains}",
            "`scripts/bench label`",
        )
    ]


def _workers(workers: dict[str, Any]) -> list[Row]:
    ratio, unit, plan, resumed = workers["ratio"], workers["unit"], workers["planning"], workers["resuming"]
    one, many = workers["rates"].values()
    first = sorted(workers["first_unit_seconds"])

    def times(measure: str) -> str:
        return f"**{ratio[measure]['best']:.2f}x, {ratio[measure]['median']:.2f}x**"

    return [
        (
            f"a process a core against one process, {workers['photos']} photos, images/s, load {workers['load']}",
            f"{many['whole']['best']:.0f} best, {many['whole']['median']:.0f} median; one process "
            f"{one['whole']['best']:.0f}, {one['whole']['median']:.0f}: {times('whole')}; behind the first quarter "
            f"{times('beyond')}; there by seconds of a core {times('cpu')} ({many['cpu']['median']:.1f} ms an image, "
            f"one process {one['cpu']['median']:.1f})",
            "`python -m bench.workers`",
        ),
        (
            "what many workers cost",
            f"planning and committing take {unit['share']:.1%} of a unit of 8,192 rows; first unit begun after "
            f"{first[len(first) // 2]:.1f} s (median of {len(first)}); simulated, 64 workers: "
            f"{workers['simulated']['ratio']:.2f} of the ideal time",
            "`python -m bench.workers`",
        ),
        (
            "a run over many workers planned, and a finished one taken up",
            f"{plan['inputs']:,} inputs in {plan['seconds']:.1f} s and {plan['megabytes']} MB, the plan takes "
            f"{plan['plan_megabytes']} MB; {resumed['units']:,} units in {resumed['command_seconds']:.1f} s",
            "`python -m bench.workers`",
        ),
    ]


SPEED = {
    "decode": _decode,
    "extract": _extract,
    "peers_efficientnet_lite0": _peers,
    "peers_efficientnet_lite0_12mp": _peers,
    "peers_resnet50": _peers,
    "precision": _precision,
    "memory": _memory,
    "store": _store,
    "store_bucket": _store_bucket,
    "update": _update,
    "serve": _serve,
    "label": _label,
    "workers": _workers,
}  # result -> rows of (what, figure, command)
