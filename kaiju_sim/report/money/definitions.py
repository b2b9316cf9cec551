"""The words of the keys about money in full and about what limits a fleet (as in `definitions`)."""

MONEY = """
[Bottleneck]
bottleneck | Bottleneck |  | text
  What limits the fleet, by the rule in docs/economics.md: KV memory, prefill compute, decode
  bandwidth, router imbalance or TTFT headroom. Where nothing is near its limit, what is nearest.
bottleneck.prefill_compute | Prefill compute | of capacity | fraction
  Prompt tokens computed / capacity.prefill_tokens_per_s.
bottleneck.decode_bandwidth | Decode bandwidth | of capacity | fraction
  Tokens generated / capacity.decode_tokens_per_s. With prefill compute it adds up to about 1 in a
  fleet that can take no more; batches that are not full leave it below.
bottleneck.kv_memory | KV memory | of blocks | fraction
  Blocks or windows that messages hold / all, of the fuller pool.
bottleneck.ttft_headroom | First token | of objective | fraction
  p99 of the time to first token / slo.ttft. Null without an objective, or when p99 is infinite.
bottleneck.router_imbalance | Most loaded replica | times the mean | number
  router.load_max_over_mean.
capacity.prefill_tokens_per_s | Prefill capacity | tokens/s | rate
  Prompt tokens that all replicas paid for could compute in steps of a full token budget, made of
  the run's mean messages, if they did nothing else.
capacity.decode_tokens_per_s | Decode capacity | tokens/s | rate
  Tokens that they could generate at the batch of capacity.batch and the run's mean context, if
  they did nothing else.
capacity.batch | Decode batch | sequences | number
  The largest batch that engine.max_seqs, KV memory and slo.tpot allow.
router.load_max_over_mean | Load, most over mean | ratio | number
  Messages at the most loaded replica / mean of all replicas, both means over the measured time.
router.waiting_at_loaded | Waiting at loaded replicas | of waiting | fraction
  Share of the waiting messages that wait at replicas with 1.5 times the mean load or more. Null
  when none waits at a replica.

[Bill]
bill.gpu_usd_per_month | GPUs | USD/month | usd
  GPUs provisioned, at economics.gpu_price, or in the mix of economics.purchase.
bill.host_memory_usd_per_month | Host memory | USD/month | usd
  Host memory (kv.host_memory) beyond what comes with the GPUs.
bill.storage_usd_per_month | Storage | USD/month | usd
  Dialogues kept, in the steady state.
bill.network_usd_per_month | Network | USD/month | usd
  Answers streamed out.
bill.cdn_usd_per_month | CDN | USD/month | usd
  Pictures and the client, per hour of conversation.
bill.safety_usd_per_month | Safety classifiers | USD/month | usd
  Small classifiers paid by the token: they read the user's words and the answer; with a safety gate
  the answer only, if safety.post.kind is classifier.
bill.safety_servers_usd_per_month | Safety gate's servers | USD/month | usd
  CPU servers of the safety gate before the model, busy or not. 0 without one.
bill.training_usd_per_month | Training, written off | USD/month | usd
  Training the model / months of use x this fleet's share.
cost.full.usd_per_month | Whole bill, no staff | USD/month | usd
  The sum of the lines above. Staff, offices and taxes are not in it.
cost.full.usd_per_month_p10 | Whole bill, p10 | USD/month | usd
  10th percentile of the whole bill over 1,000 draws from the ranges of all that it assumes.
cost.full.usd_per_month_p50 | Whole bill, p50 | USD/month | usd
  The median of the draws; many ranges reach further to one side, so it need not be the bill above.
cost.full.usd_per_month_p90 | Whole bill, p90 | USD/month | usd
  90th percentile of the draws.
cost.full.usd_per_hour | Whole bill, hour | USD/h | usd
  cost.full.usd_per_month / 730.

[Full cost]
cost.full.usd_per_message | Per message | USD | usd
  Whole bill / messages of the month (measured rate x economics.average_load x economics.demand).
cost.full.usd_per_million_uncached_input_tokens | Per million uncached input | USD | usd
  The whole bill's part for prompt tokens that were computed. The split is a convention: host
  memory goes to cached input, network to output, all else as the GPUs' time (cost.input_share),
  a cached token bearing economics.cached_input_weight of an uncached one.
cost.full.usd_per_million_cached_input_tokens | Per million cached input | USD | usd
  The same for prompt tokens found in caches.
cost.full.usd_per_million_output_tokens | Per million output | USD | usd
  The same for output tokens. The three parts add up to the whole bill.
cost.full.usd_per_conversation_hour | Per conversation hour | USD | usd
  Whole bill / (dialogues alive x hours of the month x average load). Null without dialogues.
cost.full.usd_per_subscriber_month | Per user, month | USD | usd
  Whole bill per message x economics.messages_per_subscriber_month, or, where that is not given,
  the assumed messages of a user.

[Business]
business.daily_users | Daily users, implied | users | count
  Messages of an average day / economics.users.messages_per_user_day.
business.subscribers | Subscribers, implied | users | count
  Daily users x economics.users.subscribers_per_daily_user.
business.revenue_usd_per_month | Revenue | USD/month | usd
  Subscriptions less fees, and advertising.
business.gross_margin | Gross margin | of revenue | fraction
  1 - whole bill / revenue, paying and free users together. Null without revenue, and when the fleet
  is overloaded. Staff is not in it.
business.burn_usd_per_month | Burn | USD/month | usd
  Whole bill - revenue; negative where money is left (before staff).
business.break_even_price_usd | Break-even subscription | USD/month | usd
  Price of a subscription at which the margin is 0.
business.break_even_daily_users | Break-even daily users | users | count
  Daily users from which revenue covers the bill, if the fleet grows with them and only training
  stays. Null if a user costs more than he brings.
"""

COST_OF_KINDS = """
[Cost]
cost.usd_per_million_uncached_input_tokens | Per million uncached input | USD | usd
  Input's share of the GPU bill / prompt tokens, a cached one counting as
  economics.cached_input_weight of an uncached one.
cost.usd_per_million_cached_input_tokens | Per million cached input | USD | usd
  That weight x the price of an uncached one. These two and output add up to the GPU bill.
cost.usd_per_subscriber_month | Per subscriber, month | USD | usd
  GPU cost of a subscriber's messages; null unless economics.messages_per_subscriber_month is given.
"""
