"""Square's names of products: a variation's id for each SKU."""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock

SkuOf = Callable[[str], str | None]
"""A variation's id -> its SKU, as Square tells it; None: it has none."""


class Catalogue:
    """What is known of the catalogue; safe for many threads. A variation is asked for once."""

    def __init__(self, sku_of: SkuOf) -> None:
        """Ask by that."""
        self._ask = sku_of
        self._skus: dict[str, str | None] = {}
        self._lock = Lock()

    def skus(self, variations: Iterable[str]) -> Mapping[str, str]:
        """The SKU of each of those variations that has one."""
        found = {}
        for variation in variations:
            with self._lock:
                is_known = variation in self._skus
            if not is_known:
                sku = self._ask(variation)
                with self._lock:
                    self._skus[variation] = sku
            told = self._skus[variation]
            if told is not None:
                found[variation] = told
        return found

    def variations(self) -> Mapping[str, str]:
        """The variation of each SKU that was heard of so far; of two, the first by id."""
        with self._lock:
            known = sorted(self._skus.items(), reverse=True)
        return {sku: variation for variation, sku in known if sku is not None}
