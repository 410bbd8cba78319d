# The usual way to dispatch and combine with torch: one of the ranks that bench/recipe.go starts. Arguments: tokens, dim, experts, k,
# iterations. Prints a JSON object: rank, the nanoseconds of each iteration, and how many elements came out wrong.
import json
import os
import sys
import time

import torch
import torch.distributed as dist

torch.set_num_threads(1)
tokens, dim, experts, k, iterations = map(int, sys.argv[1:])
dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.manual_seed(rank)
x = torch.rand(tokens, dim) - 0.5
weight, expert = torch.topk(torch.softmax(torch.rand(tokens, experts), 1), k, 1)
order = torch.argsort(expert.reshape(-1), stable=True)  # rows by expert
token = order // k
row_weight = weight.reshape(-1)[order].unsqueeze(1)
sent = torch.bincount(expert.reshape(-1), minlength=experts).reshape(ranks, -1).sum(1)


def step():
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent)
    out, into = sent.tolist(), received.tolist()
    rows = x.index_select(0, token)
    arrived = torch.empty(sum(into), dim)
    dist.all_to_all_single(arrived, rows, into, out)
    answers = torch.empty_like(rows)  # of experts that return what they get
    dist.all_to_all_single(answers, arrived, out, into)
    return torch.zeros(tokens, dim).index_add_(0, token, answers.mul_(row_weight))


took = []
with torch.no_grad():
    for i in range(iterations + max(iterations // 10, 2)):
        dist.barrier()
        begin = time.perf_counter_ns()
        y = step()
        took.append(time.perf_counter_ns() - begin)
want = x * weight.sum(1, keepdim=True)
wrong = int((~torch.isclose(y, want, rtol=1e-5, atol=1e-6)).sum())
sys.stdout.write(json.dumps({"Rank": rank, "Took": took[-iterations:], "Wrong": wrong, "Version": torch.__version__}) + "\n")
sys.stdout.flush()
dist.barrier()
