"""The specification of a replica's KV memory, one entry per block and one per retained window.

Slow and plain on purpose: what `engine.policy.prefix`, `engine.policy.windows` and the memory part
of `engine.policy.batching` mean, without runs, links or indexes. Nothing of them is used here.

**Blocks.** A block is (stream, position). It is free, held by messages (named blocks have a count
of holders, a message's own ones have no name yet), or idle: named, held by nobody, in order of
last use. A message is admitted with all the memory that its prompt and first token need: the
leading blocks of its path that have a name, and own ones. When its prompt is computed its own
blocks get their names; where another message has named the same block meanwhile, that one is held
instead and one's own is free again. When a message leaves, its named blocks are let go from the
last to the first, so that a block is always used later than the blocks that build on it. Free
blocks are given out first, then idle ones, least recently used first.

**Windows.** A message owns one window of local KV. A window may be retained at a point
(stream, blocks before it); a message resumes at the last point of its path that has a window,
among the blocks that it found. It takes the window of a turn's end; it copies a shared one. Free
windows are given out first, then retained ones, least recently used first.

**Host memory.** What HBM gives up, block or window, goes to host memory; when that is full, what
has been there longest is dropped. A message that finds blocks there takes own ones and loads those
that it can resume from; when they get their names the host copies are given up. A window that it
resumes from in host memory is loaded into its own; a turn's end is gone from there then, a shared
one is retained in HBM again, if HBM has another window to give.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

Block = tuple[int, int]
Point = tuple[int, int]
Path = list[tuple[int, int]]


@dataclass(frozen=True)
class Rules:
    """What a replica has and how it uses it; `windows` 0: local KV lives with the blocks."""

    blocks: int
    block_tokens: int = 4
    windows: int = 0
    retain: bool = False
    prompt_ends: bool = False
    host: int = 0
    host_windows: int = 0
    prefix_cache: bool = True
    cache_generated: bool = False


@dataclass
class Message:
    """A message: pieces of streams that its prompt is made of, and what it holds."""

    path: Path
    prompt: int
    named: list[Block] = field(default_factory=list)
    own: int = 0
    hit: int = 0
    hit_host: int = 0
    loads: tuple[int, int] = 0, 0

    @property
    def held(self) -> int:
        """Blocks that it holds in all."""
        return len(self.named) + self.own


def path_blocks(path: Path) -> list[Block]:
    """Every block of a path, front first."""
    return [(stream, position) for stream, n in path for position in range(n)]


def last_point(path: Path) -> Point | None:
    """The end of a path; none where it does not reach beyond its first piece, the head."""
    return next(((stream, n) for stream, n in reversed(path[1:]) if n > 0), None)


class Memory:
    """The KV memory of one replica."""

    def __init__(self, rules: Rules) -> None:
        """All free."""
        self.rules = rules
        self.free = rules.blocks
        self.idle: OrderedDict[Block, None] = OrderedDict()
        self.holders: dict[Block, int] = {}
        self.evicted = 0
        self.windows_free = rules.windows
        self.windows: OrderedDict[Point, bool] = OrderedDict()
        self.windows_evicted = 0
        self.host: OrderedDict[Block, None] = OrderedDict()
        self.host_windows: OrderedDict[Point, bool] = OrderedDict()
        self.dropped = 0
        self.windows_dropped = 0

    # Blocks

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold so many tokens."""
        return -(-tokens // self.rules.block_tokens)

    def match(self, path: Path) -> list[Block]:
        """The leading blocks of a path that have a name, those in host memory last."""
        found: list[Block] = []
        for block in path_blocks(path):
            if block not in self.holders and block not in self.idle and block not in self.host:
                break
            assert block in self.host or not found or found[-1] not in self.host
            found.append(block)
        return found

    def hold(self, blocks: Iterable[Block]) -> None:
        """One more holder of each of these named blocks."""
        for block in blocks:
            self.idle.pop(block, None)
            self.holders[block] = self.holders.get(block, 0) + 1

    def allocate(self, count: int) -> None:
        """Take free blocks, then idle ones."""
        for _ in range(count):
            if self.free > 0:
                self.free -= 1
                continue
            block, _ = self.idle.popitem(last=False)
            self.evicted += 1
            if self.rules.host > 0:
                self.host[block] = None
            if len(self.host) > self.rules.host:
                self.host.popitem(last=False)
                self.dropped += 1

    def name(self, message: Message) -> None:
        """Name a message's own blocks along its path; give back those that exist by now."""
        for block in path_blocks(message.path)[len(message.named) :]:
            if block in self.holders or block in self.idle:
                self.free += 1
            self.host.pop(block, None)
            self.hold([block])
            message.own -= 1
            message.named.append(block)

    def let_go(self, message: Message) -> None:
        """Let go of all blocks of a message, front last."""
        self.free += message.own
        for block in reversed(message.named):
            self.holders[block] -= 1
            if self.holders[block] == 0:
                del self.holders[block]
                self.idle[block] = None
        message.own = 0
        message.named = []

    # Windows

    def resume_point(self, path: Path, found: int) -> tuple[int, Point | None]:
        """Blocks that can be resumed from, of `found` cached ones, and the point of the window."""
        if self.rules.windows == 0:
            return found, None
        best: tuple[int, Point | None] = 0, None
        for position, (stream, i) in enumerate(path_blocks(path)[:found], start=1):
            if (stream, i + 1) in self.windows or (stream, i + 1) in self.host_windows:
                best = position, (stream, i + 1)
        return best

    def take_window(self) -> bool:
        """Take a free window, or the least recently used retained one."""
        if self.windows_free > 0:
            self.windows_free -= 1
        elif self.windows:
            point, shared = self.windows.popitem(last=False)
            self.windows_evicted += 1
            if self.rules.host_windows > 0:
                self.host_windows[point] = shared
            if len(self.host_windows) > self.rules.host_windows:
                self.host_windows.popitem(last=False)
                self.windows_dropped += 1
        else:
            return False
        return True

    def own_window(self, point: Point | None) -> int:
        """Give a message its window: that of the point, a copy of it, or an empty one.

        Windows that are loaded for it.
        """
        if self.rules.windows == 0:
            return 0
        if point in self.host_windows:
            shared = self.host_windows.pop(point)
            assert self.take_window()
            if shared and self.take_window():
                self.windows[point] = True
            return 1
        if point is not None and not self.windows[point]:
            del self.windows[point]
            return 0
        if point is not None:
            self.windows.move_to_end(point)
        assert self.take_window()
        return 0

    def retain_copy(self, point: Point, *, shared: bool) -> None:
        """Retain a copy of a message's window, unless there is one or no memory for it."""
        self.host_windows.pop(point, None)
        if point in self.windows:
            self.windows.move_to_end(point)
        elif self.take_window():
            self.windows[point] = shared

    def give_up_window(self, point: Point | None) -> None:
        """A message leaves its window at a point (if there is none yet), or frees it."""
        if self.rules.windows == 0:
            return
        if point is None or not self.rules.retain:
            self.windows_free += 1
        elif point in self.windows:
            self.windows.move_to_end(point)
            self.windows_free += 1
        else:
            self.host_windows.pop(point, None)
            self.windows[point] = False

    # A message's life

    def admit(self, message: Message) -> bool:
        """Give a message memory for its prompt and first token; False, and no change, if short."""
        found = self.match(message.path)
        near = [block for block in found if block not in self.host]
        own = self.blocks_for(message.prompt + 1) - len(near)
        if own > self.free + len(self.idle) - sum(block in self.idle for block in near):
            return False
        if self.rules.windows and self.windows_free + len(self.windows) == 0:
            return False
        usable, point = self.resume_point(message.path, len(found))
        self.hold(near)
        self.allocate(own)
        message.loads = max(0, usable - len(near)), self.own_window(point)
        message.named = near
        message.own = own
        message.hit = min(usable * self.rules.block_tokens, message.prompt - 1)
        message.hit_host = max(0, message.hit - len(near) * self.rules.block_tokens)
        return True

    def computed(self, message: Message) -> None:
        """The prompt is computed: its blocks get names, the head's and the turn's window are kept.

        The turn's window only where answers are not cached, else the answer's end is kept, or with
        `prompt_ends`.
        """
        if not self.rules.prefix_cache:
            return
        self.name(message)
        if not self.rules.windows or not self.rules.retain:
            return
        stream, n = message.path[0]
        if message.hit < n * self.rules.block_tokens:
            self.retain_copy((stream, n), shared=True)
        end = last_point(message.path)
        kept = self.rules.prompt_ends or not self.rules.cache_generated
        if kept and end is not None:
            self.retain_copy(end, shared=False)

    def can_grow(self) -> bool:
        """Whether there is a block for a running message."""
        return self.free + len(self.idle) > 0

    def grow(self, message: Message) -> None:
        """A running message takes one more block."""
        self.allocate(1)
        message.own += 1

    def leave(self, message: Message, context: int) -> None:
        """A message of `context` tokens gives up its memory; the last token's KV does not exist.

        With `cache_generated` the full blocks of its answer are the continuation of its path.
        """
        end = None
        if self.rules.prefix_cache and self.rules.cache_generated:
            stream, n = message.path[-1]
            more = (context - 1) // self.rules.block_tokens - len(message.named)
            message.path[-1] = stream, n + more
            self.name(message)
            end = last_point(message.path)
        self.give_up_window(end)
        self.let_go(message)

    def withdraw(self, message: Message) -> None:
        """A message is given up while its prompt is computed: nothing new gets a name."""
        self.give_up_window(None)
        self.let_go(message)

    def requeue(self, message: Message, made: int) -> None:
        """After a preemption what it has said is prompt; cached only where answers are."""
        message.prompt += made
        if self.rules.prefix_cache and self.rules.cache_generated:
            stream, n = message.path[-1]
            blocks = sum(n for _, n in message.path)
            more = message.prompt // self.rules.block_tokens - blocks
            message.path[-1] = stream, n + more
