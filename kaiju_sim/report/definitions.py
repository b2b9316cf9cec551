"""The words of every key of `summary.json` that is not one of a regular family.

A key's line is `key | label | unit | kind`, its definition follows, indented; `glossary` reads it.
"""

BEFORE_LATENCY = """
[Verdict]
verdict | Verdict |  | text
  overloaded: the measured window ends with more messages in the system than it began with, by
  over 2 % of what arrived and three standard deviations of a Poisson count, at least half of them
  waiting, or under 90 % of the stated messages are served while over a second of work waits, or
  over 1 % of the cohort failed, was shed or given up; the
  quantiles then depend on how long one looks. backlogged: not so, but what waits when arrivals end
  takes over five seconds to serve, or still waits after five seconds of drain. stable: neither.
profile.id | Step-time profile |  | text
  Which step-time model was used.
profile.source | Source of step times |  | text
  measured: fitted to samples from a GPU; roofline: analytic, nothing measured; constant or
  exponential: set by the scenario, to test theory.
profile.rel_error_low | Step-time error, low end | relative | fraction
  Stated error of the profile: the true step time may be this much below the modelled one (-0.1
  is 10 % faster). Null when nobody has measured it.
profile.rel_error_high | Step-time error, high end | relative | fraction
  The true step time may be this much above the modelled one. Null when nobody has measured it.
profile.kv_blocks | Source of KV blocks |  | text
  profile: what the measured engine had at the same memory settings; memory: weights and
  activations subtracted from HBM; scenario: stated there.
run.replications | Replications | runs | count
  Independent runs, each with users of its own. With more than one, every figure here is the mean
  over them (counts too: messages per run), null if it is null in any, and intervals.json has the
  95 % Student-t interval and each run's value; of texts that differ, the worst stands here.
run.warm_up_s | Warm-up |  | duration
  The cohort is what arrives from here to run.horizon: as stated, or (run.warm_up: auto) the
  detected end of the transient, rounded up to a twentieth of run.horizon.
run.warm_up_detected_s | Warm-up, detected |  | duration
  Where the run's own time series settles: the later cut of MSER-5 on the messages in the fleet
  and on its prefix hit rate, one value a tick. Null if that is in no first half, or not tested.
run.steady_state | Steady state |  | text
  settled: the detected warm-up ends before the cohort begins. settles later: it does not, so the
  figures are of a transient in part. not settled: no end in the first half of the run (with auto,
  the second half is then measured). not tested: traffic.diurnal, or under 50 ticks.

[Fleet]
fleet.gpus | GPUs | GPUs | count
  GPUs provisioned: replicas x ranks; where the fleet changes, at the start.
fleet.replicas | Replicas | replicas | count
  Copies of the model; where the fleet changes, at the start.
fleet.replicas_mean | Replicas, mean | replicas | number
  Replicas paid for, from order to release, mean over the measured time.
fleet.replicas_max | Replicas, most | replicas | count
  Replicas paid for at once, at most, in the measured time.
fleet.gpu_hours | GPU hours | GPU hours | number
  GPUs paid for in the measured time x hours, from order to release, busy or not.
fleet.tensor_parallel | GPUs per replica | GPUs | count
  Ranks of one replica. Null where groups of a mixed fleet differ.
fleet.cells | Cells | cells | count
  Independent parts of the fleet, each with a router of its own.
fleet.gpu | GPU |  | text
  GPU type, by catalog name.
fleet.model | Model |  | text
  Model, by catalog name.

[Messages]
requests.arrived | Arrived | messages | count
  Messages of the cohort. The other `requests.*` keys add up to it; the run fails if they do
  not.
requests.blocked_pre | Blocked before the model | messages | count
  Refused by the safety gate before the model has seen them (safety.pre: before).
requests.shed | Shed | messages | count
  Turned away before any work was done on them: by engine.queue_limit at their arrival, or by
  engine.shed when they would have been late.
requests.failed | Failed | messages | count
  Accepted but impossible to serve: for one, a prompt longer than engine.max_context.
requests.cancelled | Cancelled | messages | count
  Given up by the user, whose client got no first token in time (traffic.client.timeout). Each
  attempt is a message of its own.
requests.completed | Completed | messages | count
  Got their last token.
requests.blocked_post | Blocked after the model | messages | count
  Answers that the safety gate took back or ended: they cost the GPU and count as no answer.
requests.in_flight | In flight at the end | messages | count
  Neither completed nor failed when the drain time was over.
"""

AFTER_LATENCY = """

[Cache and GPUs]
prefix_hit_rate | Prefix hit rate | of prompt tokens | fraction
  Prompt tokens found in the prefix cache / prompt tokens, over the cohort's messages that were
  scheduled. Whole blocks only.
prefix_hit_rate_shared | Prefix hit rate, shared head | of prompt tokens | fraction
  The part of it that lies in the head that users share (date and definition); the rest is of the
  dialogue itself. 0 in a replay, where a trace does not say where the head ends.
prefix_hit_rate_host | Prefix hit rate, host memory | of prompt tokens | fraction
  The part of prefix_hit_rate that was found in host memory and loaded into HBM. 0 without host
  memory.
kv_utilisation.global | KV use, global pool | of blocks | fraction
  Blocks that messages hold / blocks, mean over replicas and over the measured time. Blocks kept
  for reuse only do not count: they can be had at once.
kv_utilisation.local | KV use, local-window pool | of windows | fraction
  The same for the pool of local windows. Null when the model has no local layers.
kv_utilisation.host | KV use, host memory | of blocks | fraction
  Blocks kept in host memory / blocks that it holds, mean over replicas and over the measured time.
  Null without host memory, like the keys that follow.
host_memory.loaded_bytes | Loaded from host memory | bytes | number
  KV copied into HBM over the measured time, all replicas and ranks.
host_memory.stored_bytes | Stored in host memory | bytes | number
  KV copied out of HBM over the measured time, all replicas and ranks.
host_memory.loading_fraction | Link busy, into HBM | of time | fraction
  Time in which the link between host memory and HBM loads / time, mean over links and over the
  measured time.
host_memory.storing_fraction | Link busy, out of HBM | of time | fraction
  The same for the other direction.
host_memory.blocks_demoted | Blocks demoted | blocks | count
  Blocks evicted from HBM into host memory over the measured time.
host_memory.blocks_dropped | Blocks dropped | blocks | count
  Blocks dropped from host memory, because it was full, over the measured time.
gpu_busy_fraction | GPU busy | of time | fraction
  Time in engine steps / time, mean over replicas and over the measured time. A busy GPU may
  still have room in its batch.

[Service]
goodput_per_s | Goodput | messages/s | rate
  Completed messages of the cohort that met every stated objective, per second of measured time.
  With no objective stated: all completed ones.
slo.attainment | Objectives met | of the cohort | fraction
  The same messages as a fraction of the cohort, less what the safety gate blocked: what failed,
  was shed, or did not finish counts against it.
slo.availability | Availability | of the cohort | fraction
  Completed / (arrived - blocked by the safety gate).
slo.stream_tokens_per_s | Stream speed | tokens/s | rate
  1 / the median time per output token: how fast an answer reads on screen.
slo.persona | Persona consistency | points of 5 | number
  Calibrated score of one persona evaluation of the served model (`kaiju-sim gate persona`), by
  the simulated judge. Null unless evals.persona.served is true.

[Alerts]
slo.alert.fast.fired | Fast burn alert, fired | times | count
  How often the alert slo.alerts.fast began to fire in the measured time. Null without slo.alerts.
slo.alert.fast.first_s | Fast burn alert, first | s | duration
  When it first fired, in simulated time. Null if it never did.
slo.alert.fast.firing_share | Fast burn alert, firing | of evaluations | fraction
  Evaluations at which it fired. On replications without a fault: its measured false-alarm rate.
slo.alert.fast.false_alarm | Fast burn alert, by the model | of evaluations | fraction
  The same if each message were bad by itself with the run's own bad share (binomial model): what
  faults that come in bunches add stands in the difference.
slo.alert.fast.false_alarm_at_target | Fast burn alert, at the target | of evaluations | fraction
  The same with the bad share exactly at the target: the worst service that needs no alert.
slo.alert.slow.fired | Slow burn alert, fired | times | count
  The same for slo.alerts.slow.
slo.alert.slow.first_s | Slow burn alert, first | s | duration
  The same for slo.alerts.slow.
slo.alert.slow.firing_share | Slow burn alert, firing | of evaluations | fraction
  The same for slo.alerts.slow.
slo.alert.slow.false_alarm | Slow burn alert, by the model | of evaluations | fraction
  The same for slo.alerts.slow.
slo.alert.slow.false_alarm_at_target | Slow burn alert, at the target | of evaluations | fraction
  The same for slo.alerts.slow.

[Tiers]
tier.paid.arrived | Paid tier, arrived | messages | count
  Messages of the cohort of the paid tier.
tier.paid.goodput_per_s | Paid tier, goodput | messages/s | rate
  Those of them that met every stated objective, per second of measured time.
tier.paid.attainment | Paid tier, objectives met | of the tier | fraction
  The same as a fraction of the tier's messages.
ttft_s.paid.p50 | Paid tier, time to first token, p50 | s | duration
  Half of the tier's messages are at or below this.
ttft_s.paid.p90 | Paid tier, time to first token, p90 | s | duration
  90 % of the tier's messages are at or below this.
ttft_s.paid.p99 | Paid tier, time to first token, p99 | s | duration
  99 % of the tier's messages are at or below this.
ttft_s.paid.mean | Paid tier, time to first token, mean | s | duration
  Mean over completed messages only.
ttft_s.paid.count_inf | Paid tier, no first token | messages | count
  Messages of the tier that did not complete; they rank as +infinity.
tier.free.arrived | Free tier, arrived | messages | count
  Messages of the cohort of the free tier (all of them where traffic.paid_share is 0).
tier.free.goodput_per_s | Free tier, goodput | messages/s | rate
  Those of them that met every stated objective, per second of measured time.
tier.free.attainment | Free tier, objectives met | of the tier | fraction
  The same as a fraction of the tier's messages.
ttft_s.free.p50 | Free tier, time to first token, p50 | s | duration
  Half of the tier's messages are at or below this.
ttft_s.free.p90 | Free tier, time to first token, p90 | s | duration
  90 % of the tier's messages are at or below this.
ttft_s.free.p99 | Free tier, time to first token, p99 | s | duration
  99 % of the tier's messages are at or below this.
ttft_s.free.mean | Free tier, time to first token, mean | s | duration
  Mean over completed messages only.
ttft_s.free.count_inf | Free tier, no first token | messages | count
  Messages of the tier that did not complete; they rank as +infinity.

[Throughput]
throughput.messages_per_s | Messages | messages/s | rate
  Messages completed in the measured time / measured time, whenever they arrived.
throughput.output_tokens_per_s | Output tokens | tokens/s | rate
  Tokens delivered in the measured time / measured time.
throughput.generated_tokens_per_s | Generated tokens | tokens/s | rate
  Tokens sampled in the measured time / measured time: with engine.candidates, of every candidate,
  chosen or not.
throughput.prompt_tokens_per_s | Prompt tokens | tokens/s | rate
  Prompt tokens, cached ones included, of the messages whose prompt was computed in the measured
  time / measured time.
throughput.cached_tokens_per_s | Prompt tokens cached | tokens/s | rate
  Of these, found in the prefix cache.
throughput.output_tokens_per_gpu_s | Output tokens per GPU | tokens/s/GPU | rate
  Output tokens/s over GPUs provisioned, busy or not.

[Cost]
cost.usd_per_hour | Fleet | USD/h | usd
  GPUs provisioned x price of one, mean over the measured time. Storage, network and people are not
  included.
cost.usd_per_message | Per message | USD | usd
  Bill of the measured time / messages completed in it.
cost.usd_per_million_output_tokens | Per million output tokens | USD | usd
  Output's share of the bill / output tokens delivered. How a bill splits between input and
  output is a convention; ours is cost.input_share.
cost.usd_per_million_input_tokens | Per million input tokens | USD | usd
  Input's share of the bill / prompt tokens, cached ones included.
cost.input_share | Input's share of the bill | of the bill | fraction
  Our convention: each step's time is divided by its token rows, prompt rows / all rows; this is
  the share of busy time that falls to prompt rows. The rest of the bill is output's.
cost.usd_per_conversation_hour | Per conversation hour | USD | usd
  Bill of an hour / dialogues alive at once, on average. Null without dialogues.
cost.usd_per_month | Per month | USD | usd
  The fleet's price per hour x 730 hours.
cost.gross_margin | Gross margin | of revenue | fraction
  1 - GPU cost of a subscriber's messages / subscription price. Null unless
  economics.subscription and economics.messages_per_subscriber_month are given, and null when the
  fleet is overloaded.
"""

PAIRS = """
[Stated and realised]
messages_per_s | Messages | messages/s | rate
  Arrival rate.
live_sessions | Live sessions | sessions | number
  Dialogues alive at once.
turn_cycle_s | Turn cycle | s | duration
  From one message of a dialogue to its next.
prompt_tokens_mean | Prompt tokens | tokens | number
  Mean per message.
output_tokens_mean | Output tokens | tokens | number
  Mean per message.
"""

LAST = """

[Engine totals]
realised.in_system_mean | Messages in the system | messages | number
  Mean number of messages that wait or are worked on, over the measured time (its integral, not a
  sample: by Little's law it equals throughput x mean time in the system when stable).
realised.preemptions | Preemptions | times | count
  How often a message of the cohort lost its KV memory and had to be prefilled again.
realised.swipe_rate | Swipe rate | of finished answers | fraction
  Demands for another answer / finished answers of the cohort whose user had not left.
realised.abandoned | Users who left | dialogues | count
  Messages of the cohort whose user left for good while the answer streamed. They count as
  completed, with the tokens that were streamed.
realised.retries | Retries | messages | count
  Messages of the cohort that were given up and sent again later.
realised.gave_up | Users who gave up | dialogues | count
  Messages of the cohort that were given up for good: their user left after the last retry.
realised.answers_cut | Answers cut | messages | count
  Answers of the cohort that engine.max_context cut short.
realised.shadow_messages | Shadow messages | messages | count
  Copies of messages that warmed new shards, over the whole run: their answers are discarded and
  they count in no other key but the GPUs' busy time.
realised.turns_delayed | Turns delayed | messages | count
  Next messages put off to one epoch after the answer, over the measured time: if many, choose a
  shorter run.epoch.

[Accuracy]
results.sample_share | Share of dialogues kept | of dialogues | fraction
  requests.parquet holds every message of this share of the dialogues, chosen by a hash of the
  dialogue's id; 1: all. The figures above cover all messages, whatever is kept.
quantile_rel_error | Quantile error | relative | fraction
  Largest relative error of the quantiles above from the way they are counted; 0 when they are
  exact. Not the error of the model.

[Incidents]
incidents | Incidents |  | text
  What went wrong, a list (docs/incidents.md): when each fault was noticed and over, its ledger
  against the same run without it, and with incidents.delays the ledger over the detection delay.
"""
