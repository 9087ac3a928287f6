// How long it takes to find a host for a server and to take its room there (compute/placing.h), with what a
// request may ask for. Usage: schedule [HOSTS [BOOTS [DATABASE URL]]]; without them 10,000 hosts, 400 boots a
// line, SQLite in /tmp.
//
// The hosts are rows in a database, half full at random, all connected; no agent runs and no commit is
// measured: the time is that of the scheduling inside of the transaction, which holds SQLite's one writer;
// where there is no host, also that of the read that says why.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>

#include "compute/placing.h"
#include "tests/support/compute_fixture.h"

namespace {

using namespace virga;
using compute::Placing;

class Bench {
 public:
  Bench(int64_t hosts, int boots, const std::string& url)
      : hosts_(hosts), boots_(boots), cloud_(url), core_{{},
                                                         cloud_.database(),
                                                         cloud_.clock(),
                                                         cloud_.identity,
                                                         cloud_.images,
                                                         cloud_.networks,
                                                         *cloud_.placement} {}

  void run() {
    fill();
    fmt::print("{} hosts, {} boots a line; ms\n{:<62}{:>9}{:>9}{:>9}\n", hosts_, boots_, "", "p50", "p99",
               "max");
    measure("any host", any());
    Placing big = any(), small = any(), none_else = any();
    big.ask.zone = "half";
    small.ask.zone = "ten";
    none_else.ask.zone = "nova";
    measure("in a zone with half of the hosts", big);
    measure("in a zone with 10 hosts", small);
    measure("in the default zone, of the others", none_else);
    Placing gpu = any(), old = any(), ssd = any();
    gpu.demand.required_traits = {"CUSTOM_GPU"};
    old.demand.forbidden_traits = {"CUSTOM_OLD"};
    ssd.ask.extra_specs = {{"disk", "ssd"}};
    measure("with a trait that 1 % have", gpu);
    measure("without a trait that half have", old);
    measure("on an aggregate with 10 %", ssd);
    Placing all = gpu;
    all.ask.zone = "half";
    all.ask.extra_specs = ssd.ask.extra_specs;
    all.demand.forbidden_traits = {"CUSTOM_OLD"};
    measure("zone, both traits and aggregate at once", all);
    Placing one = any(), apart = any();
    one.ask.host = "node-00042";
    for (int64_t i = 0; i < hosts_; i += 10) apart.ask.never_hosts.insert(id(i));
    measure("on one host by its name", one);
    measure("not where a group's 10 % are", apart);
    Placing wide = any();
    wide.demand.amounts = {{"VCPU", 600}, {"MEMORY_MB", 128}, {"DISK_GB", 1}};
    measure("with more CPUs than all but 10 have free", wide);
    Placing huge = any();
    huge.demand.amounts["MEMORY_MB"] = int64_t{1} << 40;
    measure("nowhere: each of the hosts says why not", huge);
    cloud_.clock().advance(std::chrono::hours(1));
    for (int64_t i = 0; i < hosts_; i += 1000) core_.liveness.beat(HostId(id(i)), cloud_.clock().now());
    measure("any host, when one in a thousand is up", any());
  }

 private:
  static std::string id(int64_t i) {
    return fmt::format("{:08x}-0000-4000-8000-000000000000", i * 2654435761 % 4294967296);
  }

  static Placing any() {
    Placing p;
    p.demand.amounts = {{"VCPU", 1}, {"MEMORY_MB", 128}, {"DISK_GB", 1}};
    p.project_id = p.ask.project_id = "p";
    p.user_id = "u";
    return p;
  }

  void fill() {
    constexpr int64_t kPiece = 1000;
    cloud_.database().write([&](db::Tx& tx) {
      aggregate(tx, 1, "half", "availability_zone", "half");
      aggregate(tx, 2, "ten", "availability_zone", "ten");
      aggregate(tx, 3, "ssd", "disk", "ssd");
    });
    for (int64_t from = 0; from < hosts_; from += kPiece)
      cloud_.database().write([&](db::Tx& tx) {
        for (int64_t i = from; i < std::min(hosts_, from + kPiece); ++i) add(tx, i);
      });
  }

  void aggregate(db::Tx& tx, int64_t number, const std::string& name, const std::string& key,
                 const std::string& value) {
    tx.exec("INSERT INTO aggregates (number, uuid, name, created_at) VALUES (?, ?, ?, ?)", number, new_uuid(),
            name, cloud_.clock().now());
    tx.exec("INSERT INTO aggregate_metadata (aggregate_number, name, value) VALUES (?, ?, ?)", number, key,
            value);
  }

  void add(db::Tx& tx, int64_t i) {
    const Time now = cloud_.clock().now();
    tx.exec(
        "INSERT INTO hosts (id, number, hostname, zone, enabled, forced_down, address, chassis, hypervisor, "
        "virt_type, "
        "hypervisor_version, cpu_model, cpu_arch, vcpus, memory_mb, disk_gb, last_seen, created_at, "
        "updated_at) VALUES "
        "(?, ?, ?, 'nova', 1, 0, '', '', 'fake', 'qemu', 0, '', '', 32, 262144, 2000, ?, ?, ?)",
        id(i), i, fmt::format("node-{:05}", i), Time{}, now, now);
    cloud_.placement->ensure_provider(
        tx, id(i), fmt::format("node-{:05}", i),
        {{.resource_class = "VCPU",
          .total = 32,
          .max_unit = 1000,
          .allocation_ratio = i % 1000 == 7 ? 10000.0 : 16.0},
         {.resource_class = "MEMORY_MB", .total = 262144, .reserved = 512, .max_unit = 262144},
         {.resource_class = "DISK_GB", .total = 2000, .max_unit = 2000}});
    const int64_t servers = std::uniform_int_distribution<int64_t>(0, 64)(random_);
    if (servers > 0)
      cloud_.placement->allocate(
          tx, new_uuid(), id(i),
          {{"VCPU", servers}, {"MEMORY_MB", servers * 2048}, {"DISK_GB", servers * 10}}, "p", "u");
    const auto join = [&](int64_t number) {
      tx.exec("INSERT INTO aggregate_hosts (aggregate_number, host_id) VALUES (?, ?)", number, id(i));
    };
    if (i % 2 == 0) join(1);
    if (i % 1000 == 1) join(2);
    if (i % 10 == 0) join(3);
    if (i % 100 == 10) cloud_.placement->set_trait(tx, id(i), "CUSTOM_GPU", true);
    if (i % 4 < 2) cloud_.placement->set_trait(tx, id(i), "CUSTOM_OLD", true);
    compute::follow_aggregates(core_, tx, id(i));
    core_.liveness.connected(HostId(id(i)), now);
  }

  using Times = std::vector<double>;

  template <class F>
  static void timed(Times& took, F&& f) {
    const auto from = std::chrono::steady_clock::now();
    f();
    took.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count());
  }

  void measure(const char* what, const Placing& placing) {
    Times writes, reads;
    for (int i = 0; i < boots_; ++i) {
      Placing one = placing;
      one.server_id = new_uuid();
      bool found = true;
      cloud_.database().write([&](db::Tx& tx) {
        timed(writes, [&] {
          try {
            compute::place(core_, tx, one);
          } catch (const compute::NoHost&) {
            found = false;
          }
        });
      });
      if (!found)
        cloud_.database().read(
            [&](db::Tx& tx) { timed(reads, [&] { compute::why_not(core_, tx, one).message(); }); });
    }
    print(what, writes);
    if (!reads.empty()) print("  … in a read: why", reads);
  }

  static void print(const char* what, Times& took) {
    std::sort(took.begin(), took.end());
    const auto at = [&](double q) {
      return took[static_cast<size_t>(q * static_cast<double>(took.size() - 1))];
    };
    fmt::print("{:<62}{:>9.2f}{:>9.2f}{:>9.2f}\n", what, at(0.5), at(0.99), took.back());
    std::fflush(stdout);
  }

  const int64_t hosts_;
  const int boots_;
  std::mt19937_64 random_{1};
  test::ComputeCloud cloud_;
  compute::Core core_;
};

}  // namespace

int main(int argc, char** argv) {
  Bench(argc > 1 ? std::atol(argv[1]) : 10000, argc > 2 ? std::atoi(argv[2]) : 400, argc > 3 ? argv[3] : "")
      .run();
}
