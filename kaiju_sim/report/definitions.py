"""The words of every key of `summary.json` that is not one of a regular family.

A key's line is `key | label | unit | kind`, its definition follows, indented; `glossary` reads it.
"""

BEFORE_LATENCY = """
[Verdict]
verdict | Verdict |  | text
  overloaded: the measured window ends with more messages in the system than it began with, by
  over 2 % of what arrived and three standard deviations of a Poisson count, at least half of them
  waiting, or under 90 % of the stated messages are served while over a second of work waits, or
  over 1 % of the cohort failed or was shed; the
  quantiles then depend on how long one looks. backlogged: not so, but what waits at the end takes
  over five seconds to serve, or messages of the cohort are unfinished after the drain. stable:
  neither.
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

[Fleet]
fleet.gpus | GPUs | GPUs | count
  GPUs provisioned: replicas x ranks.
fleet.replicas | Replicas | replicas | count
  Copies of the model.
fleet.tensor_parallel | GPUs per replica | GPUs | count
  Ranks of one replica.
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
  Stopped by the safety gate before the model. 0 as long as the gate is not modelled.
requests.shed | Shed | messages | count
  Turned away before any work was done on them: by engine.queue_limit at their arrival, or by
  engine.shed when they would have been late.
requests.failed | Failed | messages | count
  Accepted but impossible to serve: for one, a prompt longer than engine.max_context.
requests.cancelled | Cancelled | messages | count
  Given up by the user. 0 as long as impatience is not modelled.
requests.completed | Completed | messages | count
  Got their last token.
requests.blocked_post | Blocked after the model | messages | count
  Stopped by the safety gate after the model. 0 as long as the gate is not modelled.
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
kv_utilisation.global | KV use, global pool | of blocks | fraction
  Blocks that messages hold / blocks, mean over replicas and over the measured time. Blocks kept
  for reuse only do not count: they can be had at once.
kv_utilisation.local | KV use, local-window pool | of windows | fraction
  The same for the pool of local windows. Null when the model has no local layers.
gpu_busy_fraction | GPU busy | of time | fraction
  Time in engine steps / time, mean over replicas and over the measured time. A busy GPU may
  still have room in its batch.

[Service]
goodput_per_s | Goodput | messages/s | rate
  Completed messages of the cohort that met every stated objective, per second of measured time.
  With no objective stated: all completed ones.
slo.attainment | Objectives met | of the cohort | fraction
  The same messages as a fraction of all of the cohort: what failed, was shed, or did not finish
  counts against it.
slo.availability | Availability | of the cohort | fraction
  Completed / arrived.
slo.stream_tokens_per_s | Stream speed | tokens/s | rate
  1 / the median time per output token: how fast an answer reads on screen.
slo.persona | Persona consistency | points of 5 | number
  Score of the persona evaluation. Null as long as evaluations are not modelled.

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
throughput.output_tokens_per_gpu_s | Output tokens per GPU | tokens/s/GPU | rate
  Output tokens/s over GPUs provisioned, busy or not.

[Cost]
cost.usd_per_hour | Fleet | USD/h | usd
  GPUs provisioned x price of one. Storage, network and people are not included.
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
realised.answers_cut | Answers cut | messages | count
  Answers that engine.max_context cut short, over the whole run.
realised.turns_delayed | Turns delayed | messages | count
  Next messages put off to one epoch after the answer, over the measured time: if many, choose a
  shorter run.epoch.

[Accuracy]
quantile_rel_error | Quantile error | relative | fraction
  Largest relative error of the quantiles above from the way they are counted; 0 when they are
  exact. Not the error of the model.
"""
