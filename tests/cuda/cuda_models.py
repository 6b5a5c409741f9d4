"""A small BERT of torch's own layers: it needs no library of models."""

import torch
from torch import nn
from torch.nn import functional


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to what it was given and normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries, self.keys, self.values, self.mixed = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.after_attention, self.after_network = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape

        def by_head(y: torch.Tensor) -> torch.Tensor:
            return y.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            by_head(self.queries(x)), by_head(self.keys(x)), by_head(self.values(x))
        )
        x = self.after_attention(x + self.mixed(attended.transpose(1, 2).reshape(batch, length, width)))
        answer: torch.Tensor = self.after_network(x + self.narrow(functional.gelu(self.wide(x))))
        return answer


class Bert(nn.Module):
    """Token ids [batch, tokens] to two scores for each sequence."""

    def __init__(
        self, layers: int = 4, width: int = 256, heads: int = 4, words: int = 30522, longest: int = 512
    ) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(longest, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.pooled, self.scores = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.layers(self.norm(self.words(ids) + self.places(places)))
        answer: torch.Tensor = self.scores(torch.tanh(self.pooled(x[:, 0])))
        return answer
