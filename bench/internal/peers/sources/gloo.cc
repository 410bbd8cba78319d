// gloo.cc: gloo::alltoall over TCP on the loopback interface, under the protocol of protocol.h. RANK and
// WORLD_SIZE say who this is; ranks find each other through files in DIR/store.
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include <gloo/alltoall.h>
#include <gloo/config.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include "protocol.h"

static void exchange(void *context, const uint8_t *send, uint8_t *recv, size_t bytes, unsigned iteration) {
  auto &gloo_context = *static_cast<std::shared_ptr<gloo::Context> *>(context);
  const size_t all = bytes * gloo_context->size;
  gloo::AlltoallOptions options(gloo_context);
  options.setInput(const_cast<uint8_t *>(send), all); // gloo takes a plain pointer but only reads it
  options.setOutput(recv, all);
  options.setTag(iteration % 1024);
  gloo::alltoall(options);
}

static int number(const char *name) {
  const char *value = std::getenv(name);
  if (!value) die("RANK and WORLD_SIZE must be set");
  return std::atoi(value);
}

static void run(int argc, char **argv) {
  const std::string dir = argv[1];
  gloo::transport::tcp::attr where("127.0.0.1");
  auto device = gloo::transport::tcp::CreateDevice(where);
  gloo::rendezvous::FileStore store(dir + "/store");
  auto context = std::make_shared<gloo::rendezvous::Context>(number("RANK"), number("WORLD_SIZE"));
  context->connectFullMesh(store, device);

  const std::string version = std::to_string(GLOO_VERSION_MAJOR) + "." + std::to_string(GLOO_VERSION_MINOR) + "." +
                              std::to_string(GLOO_VERSION_PATCH);
  std::shared_ptr<gloo::Context> base = context;
  struct job j = {context->rank, context->size, version.c_str(), exchange, &base};
  run_steps(&j, dir.c_str(), argc - 2, argv + 2);
}

int main(int argc, char **argv) {
  if (argc < 3) die("usage: gloo DIR BYTES:WARMUP:ITERATIONS...");
  try {
    run(argc, argv);
  } catch (const std::exception &e) {
    die(e.what());
  }
  return 0;
}
