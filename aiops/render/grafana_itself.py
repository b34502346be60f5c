"""The board about the daemon itself: does it keep up, does it read, does it tell, does it store."""

from aiops.render.grafana import RATE, Board, Look, Panel, Row, Target
from aiops.render.grafana_own import OWN, number, own, rate
from aiops.render.grafana_scores import words

_SELF = "{{instance}}"


def itself() -> Board:
    """Health and cost of aiops."""
    return Board(
        uid="aiops-itself",
        title="aiops / itself",
        about="Does the daemon keep up, read its sources, tell people, and store what it learns?",
        source=OWN,
        rows=(_now(), _pipeline(), _sources(), _notices(), _remote_write(), _storage(), _fits(), words(), _process()),
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            number("Daemons", "How many daemons are scraped.", f"count({own(OWN)})"),
            number(
                "Since the last tick",
                "Time since the pipeline finished a turn. Grows when the daemon hangs.",
                f"max(time() - {own('aiops_last_tick_timestamp_seconds')})",
                unit="s",
                limits=(15, 60),
            ),
            number(
                "Sources down",
                "Sources whose last reading failed.",
                f"count({own('aiops_target_up')} == 0) or 0 * count({own(OWN)})",
                limits=(1, 3),
            ),
            number(
                "Window used",
                "Series in the window as a share of the limit. New series are left out at 100 %.",
                f"max({own('aiops_series')} / {own('aiops_series_limit')})",
                unit="percentunit",
                limits=(0.8, 1),
            ),
            number(
                "Reload",
                "1 when the last reload of the configuration was taken.",
                f"min({own('aiops_config_last_reload_successful')})",
            ),
            number(
                "Failures of tasks",
                "Unexpected errors of supervised tasks within the chosen time.",
                f"sum(increase({own('aiops_task_crashes_total')}[$__range]))",
                limits=(1, 3),
            ),
        ),
    )


def _pipeline() -> Row:
    return Row(
        "Pipeline",
        (
            Panel(
                "Time of a turn",
                "Mean time that one turn of the pipeline takes. It must stay below the interval.",
                (Target(f"{rate('aiops_tick_seconds_total')} / {rate('aiops_ticks_total')}", _SELF),),
                "s",
            ),
            Panel(
                "Turns",
                "Turns of the pipeline, and those left out because the one before still ran.",
                (
                    Target(rate("aiops_ticks_total"), f"{_SELF} done"),
                    Target(rate("aiops_ticks_skipped_total"), f"{_SELF} left out"),
                ),
                "eps",
            ),
            Panel(
                "Detectors left out",
                "1 while turns take so long that they do without the detector.",
                (Target(own("aiops_detectors_shed"), f"{_SELF} {{{{detector}}}}"),),
                "bool_on_off",
                top=1,
            ),
            Panel(
                "Turns without a detector",
                "Turns a second that did without the detector.",
                (Target(rate("aiops_detector_turns_shed_total"), f"{_SELF} {{{{detector}}}}"),),
                "eps",
            ),
            Panel(
                "Series",
                "Series in the window, and the limit.",
                (
                    Target(own("aiops_series"), _SELF),
                    Target(own("aiops_series_dropped"), f"{_SELF} left out"),
                    Target(own("aiops_series_limit"), f"{_SELF} limit", line=True),
                ),
            ),
            Panel(
                "Values lost",
                "Values a second that found no place in the window.",
                (Target(rate("aiops_values_dropped_total"), _SELF),),
                "eps",
            ),
            Panel("Memory of the window", "Bytes of the ring of values.", (Target(own("aiops_ring_bytes"), _SELF),),
                  "bytes"),
            Panel(
                "Failures of tasks",
                "Unexpected errors by supervised task. A task that fails is started anew.",
                (Target(f"increase({own('aiops_task_crashes_total')}[{RATE}])", f"{_SELF} {{{{task}}}}"),),
            ),
        ),
    )  # fmt: skip


def _sources() -> Row:
    source = "{{source}}"
    return Row(
        "Sources",
        (
            Panel("Answers", "1 when the last attempt to read the source succeeded.",
                  (Target(own("aiops_target_up"), source),), "bool_on_off", top=1),
            Panel("Time of a reading", "Duration of the last attempt.",
                  (Target(own("aiops_target_duration_seconds"), source),), "s"),
            Panel("Age", "Time since the source last answered well.",
                  (Target(f"time() - {own('aiops_target_last_success_timestamp_seconds')}", source),), "s"),
            Panel("Readings left out", "Share of readings left out because the one before still ran.",
                  (Target(f"{rate('aiops_reads_skipped_total')} / {rate('aiops_reads_total')}", source),),
                  "percentunit"),
            Panel("Questions to servers", "Queries to servers that scrape for us, and turns that failed or waited.",
                  (Target(rate("aiops_hub_queries_total"), source),
                   Target(rate("aiops_hub_failures_total"), f"{source} failed"),
                   Target(rate("aiops_hub_turns_put_off_total"), f"{source} put off")), "eps"),
            Panel("Answers of servers", "Series in the last answers, and scrapes a second that were read from them.",
                  (Target(own("aiops_hub_series"), f"{source} series"),
                   Target(rate("aiops_hub_scrapes_total"), f"{source} scrapes"))),
            Panel("Names looked up", "Look-ups of DNS a second to find targets, and those without an answer.",
                  (Target(rate("aiops_dns_lookups_total"), _SELF),
                   Target(rate("aiops_dns_lookup_failures_total"), f"{_SELF} failed")), "eps"),
            Panel("Size of a page", "Unpacked bytes of the last page.",
                  (Target(own("aiops_target_response_size_bytes"), source),), "bytes"),
            Panel(
                "Samples of a page",
                "Samples on the last page, and lines that could not be read.",
                (
                    Target(own("aiops_target_samples"), source),
                    Target(f"{own('aiops_target_bad_lines')} > 0", f"{source} unreadable"),
                ),
            ),
        ),
    )  # fmt: skip


def _notices() -> Row:
    receiver = "{{receiver}}"
    return Row(
        "Notices",
        (
            Panel(
                "Taken and lost",
                "Notices that receivers took, and those that were given up, refused for good, or not valid.",
                tuple(
                    Target(rate(f"aiops_notifications_{what}_total"), f"{receiver} {what}")
                    for what in ("sent", "dropped", "refused", "invalid")
                ),
                "eps",
            ),
            Panel(
                "Queue",
                "Notices that wait, and the most that may wait.",
                (
                    Target(own("aiops_notifications_queue_length"), receiver),
                    Target(own("aiops_notifications_queue_capacity"), f"{receiver} limit", line=True),
                ),
            ),
            Panel(
                "Calls that fail",
                "Calls of receivers that failed; they are tried again.",
                (Target(rate("aiops_notification_errors_total"), receiver),),
                "eps",
            ),
            Panel(
                "Time of a call",
                "Duration of the last call of the receiver.",
                (Target(own("aiops_notification_latency_seconds"), receiver),),
                "s",
            ),
        ),
    )


def _remote_write() -> Row:
    receiver = "{{receiver}}"
    return Row(
        "Remote write",
        (
            Panel(
                "Samples taken and lost",
                "Samples that receivers took, refused for good, or that were lost because too many waited.",
                (
                    Target(rate("aiops_remote_write_samples_total"), f"{receiver} taken"),
                    Target(rate("aiops_remote_write_refused_samples_total"), f"{receiver} refused"),
                    Target(rate("aiops_remote_write_dropped_samples_total"), f"{receiver} lost"),
                ),
                "eps",
            ),
            Panel(
                "Samples that wait",
                "Samples that are not delivered yet.",
                (Target(own("aiops_remote_write_waiting_samples"), receiver),),
            ),
            Panel(
                "Behind",
                "Time since the newest sample that a receiver took.",
                (Target(f"time() - {own('aiops_remote_write_sent_timestamp_seconds')}", receiver),),
                "s",
            ),
            Panel(
                "Requests repeated",
                "Requests a second that failed and were repeated.",
                (Target(rate("aiops_remote_write_retries_total"), receiver),),
                "eps",
            ),
        ),
    )


def _storage() -> Row:
    return Row(
        "Storage",
        (
            Panel(
                "Journal",
                "Records written to the archive, lost before they were written, and writes that the disk refused.",
                tuple(
                    Target(rate(f"aiops_journal_{what}_total"), f"{_SELF} {what}")
                    for what in ("written", "dropped", "failures")
                ),
                "eps",
            ),
            Panel("Journal waits", "Records that wait for the disk.", (Target(own("aiops_journal_pending"), _SELF),)),
            Panel(
                "Snapshots",
                "Snapshots of what was learnt: written, and failed.",
                (
                    Target(f"increase({own('aiops_snapshots_total')}[{RATE}])", f"{_SELF} written"),
                    Target(f"increase({own('aiops_snapshot_failures_total')}[{RATE}])", f"{_SELF} failed"),
                ),
            ),
        ),
    )


def _fits() -> Row:
    return Row(
        "Model fits",
        (
            Panel(
                "Rounds",
                "Rounds of fitting, rounds left out because the machine was busy, and failures.",
                (
                    Target(rate("aiops_fit_rounds_total"), f"{_SELF} done"),
                    Target(rate("aiops_fit_rounds_skipped_total"), f"{_SELF} left out"),
                    Target(rate("aiops_fit_failures_total"), f"{_SELF} failures"),
                ),
                "eps",
            ),
            Panel("Models", "Models a second that were taken over from the worker.",
                  (Target(rate("aiops_fit_models_total"), _SELF),), "eps"),
            Panel(
                "Cost",
                "CPUs that the fit worker keeps busy, and the share of time in which a round runs.",
                (
                    Target(rate("aiops_fit_cpu_seconds_total"), f"{_SELF} CPU"),
                    Target(rate("aiops_fit_seconds_total"), f"{_SELF} running"),
                ),
                "percentunit",
            ),
        ),
        folded=True,
    )  # fmt: skip


def _process() -> Row:
    return Row(
        "Process",
        (
            Panel("CPU", "CPUs that the daemon keeps busy, without the fit worker.",
                  (Target(f"{rate('process_cpu_seconds_total')} and on (job, instance) {own(OWN)}", _SELF),),
                  "percentunit"),
            Panel("Memory", "Resident memory of the daemon.",
                  (Target(f"{own('process_resident_memory_bytes')} and on (job, instance) {own(OWN)}", _SELF),),
                  "bytes"),
            Panel(
                "Files",
                "Open file descriptors, and the limit.",
                (
                    Target(f"{own('process_open_fds')} and on (job, instance) {own(OWN)}", _SELF),
                    Target(f"{own('process_max_fds')} and on (job, instance) {own(OWN)}", f"{_SELF} limit", line=True),
                ),
            ),
            Panel(
                "Open pages",
                "Pages that are told of news, those that were one too many, and those that did not read.",
                (
                    Target(own("aiops_page_listeners"), f"{_SELF} open"),
                    Target(f"increase({own('aiops_page_listeners_refused_total')}[{RATE}])", f"{_SELF} refused"),
                    Target(f"increase({own('aiops_page_listeners_dropped_total')}[{RATE}])", f"{_SELF} let go"),
                ),
            ),
            Panel("Configuration", "When a configuration was last taken.",
                  (Target(f"{own('aiops_config_last_reload_success_timestamp_seconds')} * 1000", _SELF),),
                  "dateTimeFromNow", Look.NUMBER),
            Panel("Version", "Versions that run.", (Target(own(OWN), "{{instance}} {{version}}"),), look=Look.TABLE),
        ),
        folded=True,
    )  # fmt: skip
