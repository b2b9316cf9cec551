"""Random lives of messages on two replicas, through the engine and its specification at once."""

from dataclasses import dataclass
from random import Random

from blocks import Block, Memory, Message, Path, Rules
from tree_state import all_blocks, small_engine, windows_by_tier

from kaiju_sim.engine.layout import Engine
from kaiju_sim.engine.policy import batching
from kaiju_sim.engine.policy.kv import memory as kv
from kaiju_sim.engine.policy.kv import prefix
from kaiju_sim.engine.policy.withdraw import drop_prefill

REPLICAS = 2
STRIDE = 4
SLOTS = 14


class Streams:
    """A random forest: each stream starts anew or branches off another one at a fixed place."""

    def __init__(self, draw: Random, count: int, longest: int) -> None:
        """`count` streams whose identities use all the bits that they may have."""
        self.longest = longest
        self.before: dict[int, Path] = {}
        for _ in range(count):
            stream = draw.randrange(1 << 50)
            front: Path = []
            if self.before and draw.random() < 0.75:
                parent = draw.choice(list(self.before))
                front = [*self.before[parent], (parent, draw.randrange(longest + 1))]
            self.before[stream] = front if len(front) < STRIDE else []

    def path(self, draw: Random) -> Path:
        """The path of a random prompt, whole blocks only."""
        stream = draw.choice(list(self.before))
        return [*self.before[stream], (stream, draw.randrange(self.longest + 1))]

    def spread(self, draw: Random, path: Path, *, right: bool) -> Path:
        """The path over all slots of a request: empty pieces of any stream between its own.

        With `right` the last piece stays last, where the answer's blocks are added.
        """
        pieces = list(path)
        while len(pieces) < STRIDE:
            at = draw.randrange(len(pieces) + (0 if right else 1))
            pieces.insert(at, (draw.choice(list(self.before)), 0))
        return pieces


def write_request(e: Engine, slot: int, path: Path, prompt: int) -> None:
    """A fresh request record, not yet in any queue, and its path."""
    v = e.requests[slot]
    v.prompt = v.todo = prompt
    v.admit = v.next = -1
    v.named = v.blocks = v.hit = v.cached = v.chunk = 0
    for i in range(e.limits.stride):
        segment = e.segments[slot * e.limits.stride + i]
        segment.stream, segment.n = path[i] if i < len(path) else (0, 0)


@dataclass
class Life:
    """A message on its way: request record, place, and what the specification knows of it."""

    slot: int
    replica: int
    message: Message
    context: int = 0


class Workload:
    """Operations drawn at random; after each of them both sides must say the same."""

    def __init__(self, seed: int, rules: Rules, *, nodes: int = 512) -> None:
        """Empty replicas."""
        self.draw = Random(seed)
        self.rules = rules
        self.streams = Streams(self.draw, count=8, longest=5)
        self.engine = small_engine(
            blocks=rules.blocks,
            requests=SLOTS,
            nodes=nodes,
            replicas=REPLICAS,
            stride=STRIDE,
            shift=rules.block_tokens.bit_length() - 1,
            windows=rules.windows,
            retain=rules.retain,
            prompt_ends=rules.prompt_ends,
            host=(rules.host, rules.host_windows),
            prefix_cache=rules.prefix_cache,
            cache_generated=rules.cache_generated,
        )
        self.memories = [Memory(rules) for _ in range(REPLICAS)]
        self.slots = list(range(SLOTS))
        self.waiting: list[Life] = []
        self.filling: list[Life] = []
        self.running: list[Life] = []
        self.counts = dict.fromkeys(
            (
                "admitted",
                "refused",
                "hit",
                "adopted",
                "preempted",
                "left",
                "given_up",
                "withdrawn",
                "loaded",
            ),
            0,
        )

    def run(self, operations: int) -> None:
        """So many random operations, each compared; then everybody leaves."""
        for _ in range(operations):
            self.operate()
        while self.filling or self.running:
            self.compute()
            self.finish()
            self.compare()
        for k, memory in enumerate(self.memories):
            assert not memory.holders
            assert self.engine.caches["free"][k] + self.engine.caches["idle"][k] == (
                self.rules.blocks
            )

    # Operations

    def operate(self) -> None:
        """One of them, compared."""
        kinds = [self.submit, self.try_admit, self.compute, self.decode, self.decode, self.finish]
        if self.draw.random() < 0.03:
            kinds = [self.withdraw]
        self.draw.choice(kinds)()
        self.compare()

    def pick(self, lives: list[Life]) -> Life | None:
        """A random one, taken out."""
        return lives.pop(self.draw.randrange(len(lives))) if lives else None

    def submit(self) -> None:
        """A new message gets a request record and tries to be admitted."""
        if not self.slots:
            return
        path = self.streams.path(self.draw)
        whole = sum(n for _, n in path)
        prompt = max(1, whole * self.rules.block_tokens + self.draw.randrange(4))
        if not self.rules.cache_generated and self.draw.random() < 0.2:
            prompt += self.draw.randrange(12)  # a trace may name less than the whole prompt
        if not self.rules.prefix_cache:
            path = [(stream, 0) for stream, _ in path]
        path = self.streams.spread(self.draw, path, right=self.rules.cache_generated)
        life = Life(self.slots.pop(), self.draw.randrange(REPLICAS), Message(path, prompt))
        write_request(self.engine, life.slot, life.message.path, prompt)
        self.waiting.append(life)
        self.admit(life)

    def try_admit(self) -> None:
        """A waiting message tries again, or gives up when it can never fit."""
        if self.waiting:
            self.admit(self.draw.choice(self.waiting))

    def admit(self, life: Life) -> None:
        """Both sides decide; a message that could never be admitted gives up."""
        c = self.engine.caches[life.replica]
        before = int(c.loaded), int(c.windows_loaded)
        admitted = kv.admit(self.engine, life.replica, life.slot, 0)
        assert admitted == self.memories[life.replica].admit(life.message)
        if admitted:
            v = self.engine.requests[life.slot]
            assert v.hit == life.message.hit
            if not v.preempted:
                assert v.cached_host == life.message.hit_host
            loads = int(c.loaded) - before[0], int(c.windows_loaded) - before[1]
            assert loads == life.message.loads
            self.counts["loaded"] += sum(life.message.loads)
            assert v.todo == life.message.prompt - life.message.hit > 0
            self.waiting.remove(life)
            self.filling.append(life)
            self.counts["admitted"] += 1
            self.counts["hit"] += life.message.hit > 0
            return
        self.counts["refused"] += 1
        if self.memories[life.replica].blocks_for(life.message.prompt + 1) > self.rules.blocks:
            self.waiting.remove(life)
            self.slots.append(life.slot)
            self.counts["given_up"] += 1

    def compute(self) -> None:
        """A prompt is computed; one answer in five is a single token."""
        life = self.pick(self.filling)
        if life is None:
            return
        before = life.message.held
        free = self.memories[life.replica].free
        kv.end_prefill(self.engine, life.replica, life.slot)
        self.memories[life.replica].computed(life.message)
        assert life.message.held == before
        self.counts["adopted"] += self.memories[life.replica].free > free
        life.context = life.message.prompt + 1
        if self.draw.random() < 0.2:
            self.leave(life)
        else:
            self.running.append(life)

    def decode(self) -> None:
        """A running message makes some tokens; where there is no block, another is preempted."""
        if not self.running:
            return
        life = self.draw.choice(self.running)
        memory = self.memories[life.replica]
        for _ in range(self.draw.randrange(1, 9)):
            life.context += 1
            if (life.context - 1) % self.rules.block_tokens:
                continue
            while not memory.can_grow() and life in self.running:
                self.preempt(
                    self.draw.choice([r for r in self.running if r.replica == life.replica])
                )
            if life not in self.running:
                return
            e = self.engine
            prefix.take(e.caches[life.replica], e.nodes, e.node_index, e.node_pool[0], 1)
            memory.grow(life.message)

    def preempt(self, life: Life) -> None:
        """A running message gives up its memory and waits again."""
        self.running.remove(life)
        made = life.context - life.message.prompt
        self.leave(life)
        batching.requeue(self.engine, life.replica, life.slot, made)
        self.memories[life.replica].requeue(life.message, made)
        self.slots.remove(life.slot)
        self.waiting.append(life)
        self.counts["preempted"] += 1

    def finish(self) -> None:
        """An answer ends."""
        life = self.pick(self.running)
        if life is not None:
            self.leave(life)
            self.counts["left"] += 1

    def leave(self, life: Life) -> None:
        """Both sides give up the memory of a message."""
        held = life.message.held
        kv.leave(self.engine, life.replica, life.slot, life.context, held)
        self.memories[life.replica].leave(life.message, life.context)
        self.slots.append(life.slot)

    def withdraw(self) -> None:
        """A message is given up before its prompt is computed."""
        life = self.pick(self.filling)
        if life is not None:
            drop_prefill(self.engine, life.replica, life.slot)
            self.memories[life.replica].withdraw(life.message)
            self.slots.append(life.slot)
            self.counts["withdrawn"] += 1

    # Comparison

    def compare(self) -> None:
        """Everything that both sides know, and that nothing is lost."""
        blocks = all_blocks(self.engine)
        windows = windows_by_tier(self.engine)
        for k, memory in enumerate(self.memories):
            c = self.engine.caches[k]
            far, idle, holders = blocks[k]
            assert far == list(memory.host)
            assert idle == list(memory.idle)
            assert holders == memory.holders
            assert (c.free, c.idle, c.evicted) == (memory.free, len(idle), memory.evicted)
            assert c.dropped == memory.dropped
            assert windows[k] == (list(memory.host_windows.items()), list(memory.windows.items()))
            assert c.windows_dropped == memory.windows_dropped
            assert c.windows_free == memory.windows_free
            assert c.windows_evicted == memory.windows_evicted
            self.conserve(k)
            self.closed(far + idle, holders)
        self.compare_messages()

    def compare_messages(self) -> None:
        """Records of admitted messages say what the specification says."""
        for life in self.filling + self.running:
            v = self.engine.requests[life.slot]
            assert v.named == len(life.message.named)
            assert v.hit == life.message.hit
        for life in self.filling:
            assert self.engine.requests[life.slot].blocks == life.message.held
        for life in self.waiting + self.filling + self.running:
            e = self.engine
            segments = e.segments[life.slot * STRIDE : (life.slot + 1) * STRIDE]
            assert list(zip(segments.stream, segments.n, strict=True)) == life.message.path

    def conserve(self, k: int) -> None:
        """Free, idle and held blocks are all blocks; likewise windows."""
        e = self.engine
        inside = [life for life in self.filling + self.running if life.replica == k]
        named = {block for life in inside for block in life.message.named}
        own = sum(life.message.own for life in inside)
        c = e.caches[k]
        assert c.free + c.idle + len(named) + own == self.rules.blocks
        assert c.free >= 0
        assert 0 <= c.host_free <= c.host == self.rules.host
        if self.rules.windows:
            assert c.windows_free + c.windows_kept + len(inside) == self.rules.windows
            assert c.windows_free >= 0
            assert 0 <= c.host_windows_free <= c.host_windows == self.rules.host_windows

    def closed(self, idle: list[Block], holders: dict[Block, int]) -> None:
        """No block without its predecessor, none that was used later than its predecessor."""
        age = dict.fromkeys(holders, len(idle)) | {block: i for i, block in enumerate(idle)}
        for stream, position in age:
            before = self.predecessor(stream, position)
            if before is not None:
                assert age[before] > age[stream, position] or before in holders

    def predecessor(self, stream: int, position: int) -> tuple[int, int] | None:
        """The block that a block stands behind."""
        if position > 0:
            return stream, position - 1
        return next(((s, n - 1) for s, n in reversed(self.streams.before[stream]) if n), None)
