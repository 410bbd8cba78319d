# The model of examples/train as one writes it with torch and Gloo: one of the ranks that bench/lsh.go starts. Arguments: dim, hidden, hidden of
# an expert, sequences a step over all ranks, steps, file. Rank 0 writes a JSON object there: the median step in ms.
import json
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)
dim, hidden, expert_hidden, batch, steps = map(int, sys.argv[1:6])
SEQ, HEADS, LAYERS, EXPERTS, K = 64, 4, 4, 8, 2
dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.manual_seed(1)


class AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, into, out):
        ctx.into, ctx.out = into, out
        arrived = rows.new_empty(sum(into), rows.shape[1])
        dist.all_to_all_single(arrived, rows.contiguous(), into, out)
        return arrived

    @staticmethod
    def backward(ctx, grad):
        back = grad.new_empty(sum(ctx.out), grad.shape[1])
        dist.all_to_all_single(back, grad.contiguous(), ctx.out, ctx.into)
        return back, None, None


def mlp(width):
    return nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, dim))


class Mixture(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(dim, EXPERTS, bias=False)
        self.experts = nn.ModuleList(mlp(expert_hidden) for _ in range(EXPERTS // ranks))  # differ by rank: not summed

    def forward(self, x):
        shape, x = x.shape, x.reshape(-1, dim)
        weight, expert = torch.topk(torch.softmax(self.gate(x), 1), K, 1)
        weight = weight / weight.sum(1, keepdim=True)
        order = torch.argsort(expert.reshape(-1), stable=True)
        token = order // K
        sent = torch.bincount(expert.reshape(-1), minlength=EXPERTS)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent)
        here = received.reshape(ranks, -1)  # rows of each sender for each expert here
        out, into = sent.reshape(ranks, -1).sum(1).tolist(), here.sum(1).tolist()
        arrived = AllToAll.apply(x.index_select(0, token), into, out)
        runs = arrived.split(here.reshape(-1).tolist())
        answers = [None] * len(runs)
        for e, expert_of in enumerate(self.experts):
            mine = list(range(e, len(runs), len(self.experts)))
            for i, a in zip(mine, expert_of(torch.cat([runs[i] for i in mine])).split([len(runs[i]) for i in mine])):
                answers[i] = a
        home = AllToAll.apply(torch.cat(answers), out, into)
        return torch.zeros_like(x).index_add(0, token, home * weight.reshape(-1)[order].unsqueeze(1)).reshape(shape)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        q, k, v = self.qkv(x).reshape(-1, SEQ, 3, HEADS, dim // HEADS).permute(2, 0, 3, 1, 4)
        score = q @ k.transpose(-1, -2) / (dim // HEADS) ** 0.5
        score = score.masked_fill(torch.ones(SEQ, SEQ, dtype=torch.bool).triu(1), float("-inf"))
        return self.out((torch.softmax(score, -1) @ v).transpose(1, 2).reshape(x.shape))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(256, dim), nn.Embedding(SEQ, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * LAYERS + 1))
        self.attention = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.wide = nn.ModuleList(Mixture() if i % 2 else mlp(hidden) for i in range(LAYERS))
        self.head = nn.Linear(dim, 256, bias=False)

    def forward(self, t):
        x = self.token(t) + self.place.weight
        for i in range(LAYERS):
            x = x + self.attention[i](self.norms[2 * i](x))
            x = x + self.wide[i](self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x))


model = Model()
shared = [p for name, p in model.named_parameters() if ".experts." not in name]
adam = torch.optim.Adam(model.parameters(), 1e-3)
torch.manual_seed(2 + rank)
took = []
for _ in range(steps):
    t = torch.randint(0, 256, (batch // ranks, SEQ + 1))
    dist.barrier()
    begin = time.perf_counter()
    loss = F.cross_entropy(model(t[:, :-1]).reshape(-1, 256), t[:, 1:].reshape(-1)) / ranks
    adam.zero_grad()
    loss.backward()
    flat = torch.cat([p.grad.reshape(-1) for p in shared])
    dist.all_reduce(flat)
    for p, g in zip(shared, flat.split([p.numel() for p in shared])):
        p.grad.copy_(g.reshape(p.shape))
    adam.step()
    dist.barrier()
    took.append((time.perf_counter() - begin) * 1e3)
if rank == 0:
    with open(sys.argv[6], "w") as f:
        json.dump({"step_ms": sorted(took)[len(took) // 2], "torch": torch.__version__}, f)
dist.barrier()
