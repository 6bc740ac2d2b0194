"""Which pictures of a species are kept, however many are fetched at a time.

The rule is that of one patient person: go through the pictures in their order, fetch each whose observer has
not given enough, stop at the n-th success. A lane does the same with many pictures under way. It asks for no
more than could all succeed and still be wanted, so it fetches exactly what that person would have fetched,
nothing in advance, and the result cannot depend on which answer comes first.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import asdict, replace

from taxaforge.collection.caps import shares
from taxaforge.collection.media import Outcome
from taxaforge.collection.sources import Candidate
from taxaforge.collection.sources.hosts import Fetcher


class Lane:
    """The pictures of one species.

    Args:
        species: accepted name.
        pictures: candidates in the order in which they are tried; an errorCode says that one is not fetched.
        wanted: pictures to keep.
        per_observer: most of them by one observer.
    """

    def __init__(self, species: str, pictures: Iterator[Candidate], wanted: int, per_observer: int):
        self.species, self.pictures, self.wanted, self.per_observer = species, _once(pictures), wanted, per_observer
        self.looked: list[Candidate] = []
        self.places: dict[str, int] = {}  # address under way -> place in looked
        self.first: dict[str, int] = {}  # address -> place in looked where it came first
        self.again: list[tuple[int, int]] = []  # places of an address that came again, and of its first
        # observer -> places held back: whether that observer has given enough depends on what is under way
        self.held: defaultdict[Hashable, deque[int]] = defaultdict(deque)
        self.kept: Counter[Hashable] = Counter()
        self.under_way: Counter[Hashable] = Counter()
        self.exhausted = False

    @property
    def done(self) -> bool:
        return not self.places and not self.held and (self.exhausted or self.kept.total() >= self.wanted)

    def advance(self, ask: Callable[[str], None]) -> None:
        """Looks at as many further pictures as may all be wanted."""
        # What is held back can only take the place of something under way that fails, so it does not count.
        while not self.exhausted and self.kept.total() + len(self.places) < self.wanted:
            found = next(self.pictures, None)
            if found is None:
                self.exhausted = True
                return
            self.looked.append(found)
            place = len(self.looked) - 1
            first = self.first.setdefault(found.identifier, place)
            if first != place:  # of a second occurrence: fetched once, and both are told
                self.again.append((place, first))
            elif not found.errorCode:
                self.held[observer_of(found)].append(place)
                self._release(observer_of(found), ask)

    def settle(self, outcome: Outcome, content, ask: Callable[[str], None]) -> None:
        """Takes what an address gave. content: the file of its picture, None after an error."""
        place = self.places.pop(outcome.url)
        found = self.looked[place] = replace(self.looked[place], content=content, errorCode=outcome.errorCode)
        observer = observer_of(found)
        self.under_way[observer] -= 1
        self.kept[observer] += not outcome.errorCode
        self._release(observer, ask)

    def rows(self) -> Iterator[Candidate]:
        """Everything that was looked at, once the lane is done."""
        for place, first in self.again:
            if not self.looked[place].errorCode:
                outcome = self.looked[first]
                self.looked[place] = replace(self.looked[place], content=outcome.content, errorCode=outcome.errorCode)
        return iter(self.looked)

    def _release(self, observer: Hashable, ask: Callable[[str], None]) -> None:
        """Asks for the pictures of an observer that are held back, as far as they can be wanted, or gives them up."""
        held = self.held[observer]
        while held:
            place = held[0]
            if self.kept[observer] >= self.per_observer:
                self.looked[place] = replace(self.looked[place], errorCode="observer_has_enough")
            elif self.kept[observer] + self.under_way[observer] < self.per_observer:
                url = self.looked[place].identifier
                self.under_way[observer] += 1
                self.places[url] = place
                ask(url)
            else:
                return
            held.popleft()
        del self.held[observer]


def observer_of(found: Candidate) -> Hashable:
    """Whose picture it is: its first observer's; the pictures of one occurrence belong together where nobody is known."""
    return shares(asdict(found))[0]


def gather(
    lanes: Iterable[Lane], fetcher: Fetcher, media_path: Callable[[str], object], at_once: int
) -> Iterator[Candidate]:
    """Every candidate that was looked at, lane by lane in their order.

    at_once: further lanes are opened while fewer pictures than this are under way.
    """
    waiting: defaultdict[str, list[Lane]] = defaultdict(list)  # address -> lanes that want it
    open_: list[Lane] = []
    source, more = iter(lanes), True

    def asker(lane: Lane) -> Callable[[str], None]:
        def ask(url: str) -> None:
            waiting[url].append(lane)
            if len(waiting[url]) == 1:  # another species may wait for it already
                fetcher.ask(url)

        return ask

    while more or open_:
        while more and len(waiting) < at_once:
            lane = next(source, None)
            if lane is None:
                more = False
            else:
                open_.append(lane)
                lane.advance(asker(lane))
        while open_ and open_[0].done:
            yield from open_.pop(0).rows()
        if waiting:
            outcome = fetcher.next()
            content = media_path(outcome.sha256) if outcome.sha256 else None
            for lane in waiting.pop(outcome.url):
                lane.settle(outcome, content, asker(lane))
                lane.advance(asker(lane))


def _once(pictures: Iterator[Candidate]) -> Iterator[Candidate]:
    """Without entries that came before: a page may shift while it is read. One address of two occurrences is two."""
    seen = set()
    for found in pictures:
        if (found.identifier, found.gbifID) not in seen:
            seen.add((found.identifier, found.gbifID))
            yield found
