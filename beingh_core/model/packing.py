"""Where the tokens of a packed batch live, and which of them are the same token.

Attention runs on rows, one a sample, padded at their end to a common length; causal order keeps the padding
invisible. Causal order also makes the beginnings of two samples with the same content (system turn, shared
pictures, state) the same computation: such tokens run through the weights once, and every row reads their
keys and values. This changes no result.

Dimension letters: S sequence positions, B rows, L slots a row, N distinct tokens (und first, then act), W channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from beingh_core.errors import BeingHError
from beingh_core.model.flex import FlexPack


@dataclass(frozen=True, kw_only=True)
class QueryGroup:
    """Rows whose queries start at one column: a slice of rows, and what each query sees, (L - start, L) bool."""

    rows: slice
    start: int
    visible: Tensor


@dataclass(frozen=True, kw_only=True)
class PackLayout:
    """Index maps between sequence positions, distinct tokens and attention rows.

    Attributes:
        length: L.
        num_und: How many of the N tokens are und.
        first: (N,) place of each distinct token in the order they were fed (und, then act).
        token_of: (S,) token at each sequence position.
        positions: (N,) rotary position of each token.
        key_source: (B * L,) token of each slot; padding repeats token 0.
        key_slots: (N,) a slot of each token; None when a token has several.
        groups: The queries, in the order of `query_source`.
        query_source: (queries,) token of each query.
        query_slots: (N,) the one query of each token whose result counts.
        spare: (queries, 1) bool, True where the result is not used; None when there is none.
        flex: The same for flex attention, where it is used in place of rows.
    """

    length: int
    num_und: int
    first: Tensor
    token_of: Tensor
    positions: Tensor
    key_source: Tensor
    key_slots: Tensor | None
    groups: tuple[QueryGroup, ...]
    query_source: Tensor
    query_slots: Tensor
    spare: Tensor | None
    flex: FlexPack | None = None

    @classmethod
    def build(
        cls, sample_lens: list[int], positions_S: Tensor, identity_S: Tensor, und: Tensor, act: Tensor
    ) -> PackLayout:
        """Lays out a packed sequence.

        Args:
            sample_lens: Length of each sample, in order; they sum to S.
            positions_S: Rotary positions.
            identity_S: What each token is made of; equal numbers mean equal embeddings.
            und: Sequence positions of the und tokens, in the order they are fed.
            act: Sequence positions of the act tokens, in the order they are fed.

        Raises:
            BeingHError: A sequence position has no token, or more than one.
        """
        device, total = positions_S.device, positions_S.shape[0]
        order, rotary = torch.cat((und, act)).cpu().numpy(), positions_S.cpu().numpy()
        if len(order) != total or not np.array_equal(np.sort(order), np.arange(total)):
            raise BeingHError(
                f"the packed indexes name {len(order)} tokens, {len(np.unique(order))} of them different, "
                f"for a sequence of {total}",
                remedy="give every sequence position exactly one text, image, state or action token",
            )
        slots = _slot_table(sample_lens)
        owner = _owners(slots, np.stack((identity_S.cpu().numpy(), rotary), axis=-1))
        own = (owner == np.arange(slots.size).reshape(slots.shape)) & (slots >= 0)
        kept, token_of = _number(slots, owner, order)
        begin = np.where(own.any(axis=1), own.argmax(axis=1), slots.shape[1] - 1)
        by_begin = np.argsort(begin, kind="stable")
        slots, own, begin = slots[by_begin], own[by_begin], begin[by_begin]
        slot_token = np.where(slots >= 0, token_of[slots], 0)
        blocks = _blocks(begin, slots.shape[1])
        query_source = np.concatenate([slot_token[rows, start:].reshape(-1) for rows, start in blocks])
        counted = np.concatenate([own[rows, start:].reshape(-1) for rows, start in blocks])
        causal = torch.ones(slots.shape[1], slots.shape[1], dtype=torch.bool, device=device).tril()

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        return cls(
            length=slots.shape[1],
            num_und=int((kept < und.shape[0]).sum()),
            first=tensor(kept),
            token_of=tensor(token_of),
            positions=tensor(rotary[order[kept]]),
            key_source=tensor(slot_token.reshape(-1)),
            key_slots=tensor(_places(slot_token.reshape(-1), own.reshape(-1))) if len(kept) == total else None,
            groups=tuple(QueryGroup(rows=rows, start=start, visible=causal[start:]) for rows, start in blocks),
            query_source=tensor(query_source),
            query_slots=tensor(_places(query_source, counted)),
            spare=None if counted.all() else tensor(~counted[:, None]),
        )

    def keys(self, tokens_NW: Tensor) -> Tensor:
        """Every row's tokens, (B, L, W)."""
        if self.key_slots is None:
            rows = _Spread.apply(tokens_NW, self.key_source)
        else:
            rows = _Gather.apply(tokens_NW, self.key_source, self.key_slots, None)
        return rows.unflatten(0, (-1, self.length))

    def queries(self, tokens_NW: Tensor) -> Tensor:
        """The tokens that ask, (queries, W), group after group."""
        return _Gather.apply(tokens_NW, self.query_source, self.query_slots, None)

    def answers(self, queries_QW: Tensor) -> Tensor:
        """Results of the queries back in token order, (N, W)."""
        return _Gather.apply(queries_QW, self.query_slots, self.query_source, self.spare)


class _Gather(torch.autograd.Function):
    """index_select whose gradient is an index_select too; `blank` marks entries whose gradient is zero."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, back: Tensor, blank: Tensor | None) -> Tensor:
        ctx.save_for_backward(back, blank)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad: Tensor):
        back, blank = ctx.saved_tensors
        grad = grad.index_select(0, back)
        return (grad if blank is None else grad.masked_fill_(blank, 0.0)), None, None, None


class _Spread(torch.autograd.Function):
    """index_select with repeats; the gradient adds them up with the row-wise scatter that is fast on a CPU."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = x.shape[0]
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        total = grad.new_zeros(ctx.rows, grad.shape[1])
        return total.scatter_add_(0, index.unsqueeze(1).expand_as(grad), grad), None


def _slot_table(sample_lens: list[int]) -> np.ndarray:
    """(B, L) sequence position of each slot, -1 on padding."""
    lens = np.asarray(sample_lens)
    columns = np.arange(lens.max())
    table = (np.cumsum(lens) - lens)[:, None] + columns
    return np.where(columns < lens[:, None], table, -1)


def _owners(slots_BL: np.ndarray, content_SC: np.ndarray) -> np.ndarray:
    """(B, L) flat index of the first slot that holds the same token after the same beginning."""
    rows, length = slots_BL.shape
    content = np.where(slots_BL[..., None] >= 0, content_SC[slots_BL], -1).reshape(rows, -1)
    order = np.lexsort(content.T[::-1])
    ordered = content[order].reshape(rows, length, -1)
    differs = np.ones((rows, length), dtype=bool)
    differs[1:] = (ordered[1:] != ordered[:-1]).any(axis=-1)
    differs = np.logical_or.accumulate(differs, axis=1)
    source = np.maximum.accumulate(np.where(differs, np.arange(rows)[:, None], 0), axis=0)
    owners = np.empty_like(slots_BL)
    owners[order] = order[source] * length + np.arange(length)
    return owners


def _number(slots_BL: np.ndarray, owner_BL: np.ndarray, order_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the distinct tokens in feeding order.

    Returns:
        (N,) place of each distinct token in the feeding order, and (S,) token at each sequence position.
    """
    real = slots_BL >= 0
    owner_position = np.empty(len(order_S), dtype=np.int64)
    owner_position[slots_BL[real]] = slots_BL.reshape(-1)[owner_BL[real]]
    kept = np.flatnonzero(owner_position[order_S] == order_S)
    number = np.empty(len(order_S), dtype=np.int64)
    number[order_S[kept]] = np.arange(len(kept))
    return kept, number[owner_position]


def _places(tokens: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(N,) where each token stands in a list that holds it once among the counted entries."""
    places = np.empty(int(counted.sum()), dtype=np.int64)
    places[tokens[counted]] = np.flatnonzero(counted)
    return places


def _blocks(begin_B: np.ndarray, length: int) -> list[tuple[slice, int]]:
    """Cuts rows into one or two groups with the fewest queries; each is (rows, first query column).

    Args:
        begin_B: Column where each row's own tokens begin, ascending.
        length: L.
    """
    rows = len(begin_B)
    cut = np.arange(rows)
    cost = cut * (length - begin_B[0]) + (rows - cut) * (length - begin_B)
    best = int(cost.argmin())
    bounds = [(0, rows)] if best == 0 else [(0, best), (best, rows)]
    return [(slice(low, high), int(begin_B[low])) for low, high in bounds]
