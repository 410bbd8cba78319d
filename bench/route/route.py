# Routes tokens with torch on one thread, under the protocol of bench/route_torch.go: for each line
# "FILE TOKENS EXPERTS K ITERATIONS" on the standard input, one line on the standard output: how many tokens chose each
# expert, a semicolon, and the nanoseconds of each iteration. The first line says the version.
import sys
import time

import torch

torch.set_num_threads(1)


def route(logits, k):
    score = torch.softmax(logits, 1)
    weight, expert = torch.topk(score, k, 1)
    order = torch.argsort(expert.reshape(-1))  # rows by expert, as dispatch needs them
    return weight, expert, order


def measure(path, tokens, experts, k, iterations):
    logits = torch.from_file(path, shared=False, size=tokens * experts, dtype=torch.float32).reshape(tokens, experts).clone()
    took = []
    with torch.no_grad():
        for _ in range(iterations + max(iterations // 10, 2)):
            start = time.perf_counter_ns()
            result = route(logits, k)
            took.append(time.perf_counter_ns() - start)
        counts = torch.bincount(result[1].reshape(-1), minlength=experts)
    print(*counts.tolist(), ";", *took[-iterations:], flush=True)


print("torch", torch.__version__, flush=True)
for line in sys.stdin:
    file, *numbers = line.split()
    measure(file, *map(int, numbers))
