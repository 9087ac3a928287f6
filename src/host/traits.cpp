#include "host/traits.h"

#include <map>
#include <set>

#include "base/text.h"

namespace virga::host {
namespace {

/// The kernel's names of x86 features (arch/x86/include/asm/cpufeatures.h) and the traits of the same features.
const std::multimap<std::string_view, std::string_view> kFeatures{
    {"3dnow", "3DNOW"},           {"abm", "ABM"},
    {"aes", "AESNI"},             {"avx", "AVX"},
    {"avx2", "AVX2"},             {"avx512_bitalg", "AVX512BITALG"},
    {"avx512bw", "AVX512BW"},     {"avx512cd", "AVX512CD"},
    {"avx512dq", "AVX512DQ"},     {"avx512er", "AVX512ER"},
    {"avx512f", "AVX512F"},       {"gfni", "AVX512GFNI"},
    {"avx512ifma", "AVX512IFMA"}, {"avx512pf", "AVX512PF"},
    {"vaes", "AVX512VAES"},       {"avx512vbmi", "AVX512VBMI"},
    {"avx512_vbmi2", "AVX512VBMI2"}, {"avx512vl", "AVX512VL"},
    {"avx512_vnni", "AVX512VNNI"}, {"vpclmulqdq", "AVX512VPCLMULQDQ"},
    {"avx512_vpopcntdq", "AVX512VPOPCNTDQ"}, {"bmi1", "BMI"},
    {"bmi2", "BMI2"},             {"pclmulqdq", "CLMUL"},
    {"f16c", "F16C"},             {"fma", "FMA3"},
    {"fma4", "FMA4"},             {"pcid", "INTEL_PCID"},
    {"mmx", "MMX"},               {"mpx", "MPX"},
    {"pdpe1gb", "PDPE1GB"},       {"sgx", "SGX"},
    {"sha_ni", "SHA"},            {"sse", "SSE"},
    {"sse2", "SSE2"},             {"pni", "SSE3"},
    {"sse4_1", "SSE41"},          {"sse4_2", "SSE42"},
    {"sse4a", "SSE4A"},           {"ssse3", "SSSE3"},
    {"stibp", "STIBP"},           {"svm", "SVM"},
    {"svm", "AMD_SVM"},           {"tbm", "TBM"},
    {"rtm", "TSX"},               {"vmx", "VMX"},
    {"vmx", "INTEL_VMX"},         {"xop", "XOP"},
};

}  // namespace

std::vector<std::string> compute_traits(std::string_view cpu_arch) {
  std::vector<std::string> all{"COMPUTE_FIRMWARE_BIOS",        "COMPUTE_IMAGE_TYPE_AKI",     "COMPUTE_IMAGE_TYPE_ARI",
                               "COMPUTE_IMAGE_TYPE_QCOW2",     "COMPUTE_IMAGE_TYPE_RAW",     "COMPUTE_MIGRATE_AUTO_CONVERGE",
                               "COMPUTE_NET_VIF_MODEL_VIRTIO", "COMPUTE_NODE",               "COMPUTE_STORAGE_BUS_VIRTIO"};
  if (cpu_arch == "x86_64") all.emplace_back("COMPUTE_ARCH_X86_64");
  if (cpu_arch == "aarch64") all.emplace_back("COMPUTE_ARCH_AARCH64");
  return all;
}

std::vector<std::string> cpu_traits(std::string_view cpuinfo) {
  const size_t line = cpuinfo.find("\nflags");
  const size_t colon = line == std::string_view::npos ? line : cpuinfo.find(':', line);
  if (colon == std::string_view::npos) return {};
  std::set<std::string> found;
  for (const auto& flag : split_words(std::string(cpuinfo.substr(colon + 1, cpuinfo.find('\n', colon) - colon - 1)), ' ')) {
    const auto [first, last] = kFeatures.equal_range(flag);
    for (auto it = first; it != last; ++it) found.insert("HW_CPU_X86_" + std::string(it->second));
  }
  return {found.begin(), found.end()};
}

}  // namespace virga::host
