#include "libvirt/migration.h"

#include <string_view>

#include "libvirt/migration_xml.h"

namespace virga::libvirt {
namespace {

std::string live_xml(virDomainPtr domain) {
  char* xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_MIGRATABLE | VIR_DOMAIN_XML_SECURE);
  if (!xml) throw last_fault("read the domain that is to move");
  std::string text = xml;
  free(xml);
  return text;
}

/// libvirt's typed parameters, by name.
class Parameters {
 public:
  ~Parameters() { virTypedParamsFree(all_, count_); }
  void add(const char* name, const std::string& value) {
    if (virTypedParamsAddString(&all_, &count_, &room_, name, value.c_str()) < 0) throw last_fault("describe the migration");
  }
  uint64_t number(const char* name) const {
    unsigned long long value = 0;
    virTypedParamsGetULLong(all_, count_, name, &value);
    return value;
  }
  int integer(const char* name) const {
    int value = 0;
    virTypedParamsGetInt(all_, count_, name, &value);
    return value;
  }
  virTypedParameterPtr* out() { return &all_; }
  virTypedParameterPtr all() const { return all_; }
  int* count() { return &count_; }

 private:
  virTypedParameterPtr all_ = nullptr;
  int count_ = 0, room_ = 0;
};

/// True if there is such a job; its numbers are in `job` then.
bool read_job(virDomainPtr domain, Parameters& job) {
  int type = VIR_DOMAIN_JOB_NONE;
  if (virDomainGetJobStats(domain, &type, job.out(), job.count(), 0) < 0) return false;
  return type != VIR_DOMAIN_JOB_NONE && job.integer(VIR_DOMAIN_JOB_OPERATION) == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT;
}

}  // namespace

void migrate(virDomainPtr domain, const host::MigrationPath& path) {
  // Unsafe: libvirt would have the disks uncached, since it cannot know that no two hosts share them.
  constexpr unsigned kFlags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_NON_SHARED_INC | VIR_MIGRATE_AUTO_CONVERGE |
                              VIR_MIGRATE_UNSAFE;
  Parameters parameters;
  parameters.add(VIR_MIGRATE_PARAM_URI, "unix://" + path.memory);
  parameters.add(VIR_MIGRATE_PARAM_DISKS_URI, "unix://" + path.disk);
  parameters.add(VIR_MIGRATE_PARAM_DEST_XML, outgoing_xml(live_xml(domain), path.description));
  const std::string there = "qemu+unix:///system?socket=" + path.control;
  if (virDomainMigrateToURI3(domain, there.c_str(), parameters.all(), static_cast<unsigned>(*parameters.count()), kFlags) < 0)
    throw last_fault("move the server");
}

std::optional<MigrationProgress> leaving_progress(virDomainPtr domain) {
  Parameters job;
  if (!read_job(domain, job)) return std::nullopt;
  return MigrationProgress{{job.number(VIR_DOMAIN_JOB_MEMORY_TOTAL), job.number(VIR_DOMAIN_JOB_MEMORY_PROCESSED),
                            job.number(VIR_DOMAIN_JOB_MEMORY_REMAINING)},
                           {job.number(VIR_DOMAIN_JOB_DISK_TOTAL), job.number(VIR_DOMAIN_JOB_DISK_PROCESSED),
                            job.number(VIR_DOMAIN_JOB_DISK_REMAINING)}};
}

bool is_leaving(virDomainPtr domain) {
  Parameters job;
  return read_job(domain, job);
}

}  // namespace virga::libvirt
