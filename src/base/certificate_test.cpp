#include "base/certificate.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/fault.h"

namespace virga {
namespace {

const WallTime kNow = std::chrono::system_clock::now();

TEST(Certificate, OursCoverTheirNamesAndAreTheCas) {
  const PemPair ca = make_ca("ours", kNow), other = make_ca("other", kNow);
  const PemPair server =
      make_server_certificate(ca, {"localhost", "127.0.0.1", "cloud.example", "::1"}, kNow);
  const auto chain = read_certificates(server.certificate, "server");
  const auto root = read_certificates(ca.certificate, "ca").front();
  EXPECT_NO_THROW(check_pair(chain, read_private_key(server.key, "key")));
  EXPECT_TRUE(covers(chain.front(), {"cloud.example", "127.0.0.1", "::1"}));
  EXPECT_FALSE(covers(chain.front(), {"cloud.example", "127.0.0.2"}));
  EXPECT_FALSE(covers(chain.front(), {"other.example"}));
  EXPECT_TRUE(signed_by(chain.front(), root));
  EXPECT_FALSE(signed_by(chain.front(), read_certificates(other.certificate, "other").front()));
  const auto days = [](WallTime until) {
    return std::chrono::duration_cast<std::chrono::hours>(until - kNow).count() / 24;
  };
  EXPECT_EQ(days(valid_until(chain.front())), 364);
  EXPECT_NEAR(static_cast<double>(days(valid_until(root))), 3651.0, 1.0);
}

TEST(Certificate, HasOneFingerprintReadOrNot) {
  const PemPair ca = make_ca("ours", kNow);
  const auto made = make_server_certificate(ca, {"localhost"}, kNow);
  const std::string own = fingerprint(read_certificates(made.certificate, "it").front());
  EXPECT_EQ(fingerprint_of_pem(made.certificate + ca.certificate), own);
  EXPECT_NE(fingerprint_of_pem(ca.certificate), own);
  EXPECT_THROW(fingerprint_of_pem(made.key), Fault);
  EXPECT_THROW(fingerprint_of_pem(""), Fault);
}

TEST(Certificate, NoneOutlivesItsCa) {
  const PemPair ca = make_ca("old", kNow - std::chrono::hours(24 * 3600));
  const PemPair server = make_server_certificate(ca, {"localhost"}, kNow);
  EXPECT_LE(valid_until(read_certificates(server.certificate, "s").front()),
            valid_until(read_certificates(ca.certificate, "c").front()));
}

TEST(Certificate, SaysWhatIsWrong) {
  const PemPair ca = make_ca("ours", kNow);
  const PemPair one = make_server_certificate(ca, {"localhost"}, kNow),
                two = make_server_certificate(ca, {"localhost"}, kNow);
  const auto said = [](const std::function<void()>& f) {
    try {
      f();
    } catch (const Fault& fault) {
      EXPECT_EQ(fault.kind, FaultKind::bad_request);
      return fault.message;
    }
    return std::string("nothing");
  };
  const auto check = [&](const std::string& certificate, const std::string& key, WallTime now) {
    return said([&] {
      check_pair(read_certificates(certificate, "/etc/c.pem"), read_private_key(key, "/etc/k.pem"), now);
    });
  };
  EXPECT_EQ(check(one.certificate, one.key, kNow), "nothing");
  EXPECT_EQ(check(one.certificate, two.key, kNow), "The private key is not the certificate's.");
  EXPECT_EQ(check(one.key, one.key, kNow), "/etc/c.pem holds no certificate in PEM.");
  EXPECT_EQ(check(one.certificate, one.certificate, kNow),
            "/etc/k.pem holds no private key that can be read.");
  EXPECT_NE(check(one.certificate, one.key, kNow + std::chrono::hours(24 * 366)).find("ended at"),
            std::string::npos);
  EXPECT_NE(check(one.certificate, one.key, kNow - std::chrono::hours(24)).find("not valid before"),
            std::string::npos);
  EXPECT_EQ(check(ca.certificate, ca.key, kNow), "The certificate is not made for servers.");
}

}  // namespace
}  // namespace virga
