"""Copies of the models that other libraries can do more of, and that compute the same.

Libraries that watch layers see neither attention's projections nor a bare parameter, and stumble over what is done in place.
"""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy

from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention
from torchvision.models.resnet import BasicBlock

from oga_core.benchmarks.models import Case, Encoder


class Attention(nn.Module):
    """``nn.MultiheadAttention`` of a sequence to itself, of two Linear layers."""

    def __init__(self, like: nn.MultiheadAttention) -> None:
        super().__init__()
        width = like.embed_dim
        self.heads = like.num_heads
        self.in_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        values = {name.replace("in_proj_", "in_proj."): value for name, value in like.state_dict().items()}
        self.load_state_dict(values)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.in_proj(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        found: Tensor = self.out_proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, width))
        return found


class Layer(nn.Module):
    """``nn.TransformerEncoderLayer`` with the norms first."""

    def __init__(self, like: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.self_attn = Attention(like.self_attn)
        self.linear1, self.linear2, self.norm1, self.norm2 = like.linear1, like.linear2, like.norm1, like.norm2
        self.activation = like.activation

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm1(x))
        return x + self.linear2(self.activation(self.linear1(self.norm2(x))))


class Positions(nn.Module):
    """A parameter that is added."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.value


class LayeredEncoder(nn.Module):
    """`Encoder` of layers that other libraries know, as far as there are any."""

    def __init__(self, like: Encoder) -> None:
        super().__init__()
        self.embedding, self.fc, self.positions = like.embedding, like.fc, Positions(like.positions.detach().clone())
        layers = nn.Sequential(*[Layer(layer) for layer in like.layers.layers])
        self.layers = nn.Sequential(OrderedDict(layers=layers))

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.layers(self.positions(self.embedding(tokens))).mean(1))
        return logits


class Block(BasicBlock):
    """torchvision's, without operations in place."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(out + (x if self.downsample is None else self.downsample(x)))


class FixedNorm(nn.Module):
    """Batch norm in eval mode whose means and variances are no buffers, which Opacus refuses."""

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias = like.weight, like.bias
        assert like.running_mean is not None
        assert like.running_var is not None
        self.mean = like.running_mean.view(-1, 1, 1)
        self.scale = (like.running_var + like.eps).rsqrt().view(-1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.scale * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def make_layered(case: Case, *, norms: bool) -> nn.Module:
    """A copy of the model that other libraries can do more of; only parameters in the scope want a gradient."""
    module = deepcopy(case.module)
    if isinstance(module, Encoder):
        module = LayeredEncoder(module)
    for m in list(module.modules()):
        if isinstance(m, BasicBlock):
            m.__class__ = Block
        elif isinstance(m, nn.ReLU):
            m.inplace = False
        for name, child in list(m.named_children()):
            if norms and isinstance(child, nn.BatchNorm2d):
                setattr(m, name, FixedNorm(child))
    for name, p in module.named_parameters():
        p.requires_grad_(name.replace("in_proj.", "in_proj_").replace("positions.value", "positions") in case.parameters)
    return module
