#include "cloud/tls.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/process.h"
#include "tests/support/api_client.h"

namespace virga::cloud {
namespace {

using std::chrono::hours;

const WallTime kNow = std::chrono::system_clock::now();

class TlsFiles : public ::testing::Test {
 protected:
  TlsFiles() {
    config_.cloud.state_dir = dir_.path();
    config_.tls.enabled = true;
  }
  std::string path(const std::string& name) const { return dir_.path() + "/tls/" + name; }
  std::string text(const std::string& name) const { return read_file(path(name)); }
  Certificate served() const { return read_certificates(text("serve.pem"), "serve.pem").front(); }
  mode_t mode(const std::string& name) const {
    struct stat info {};
    EXPECT_EQ(::stat(path(name).c_str(), &info), 0) << name;
    return info.st_mode & 0777;
  }
  std::string refused() {
    try {
      refresh_certificate(config_);
    } catch (const Fault& fault) {
      EXPECT_EQ(fault.kind, FaultKind::bad_request);
      return fault.message;
    }
    return "nothing";
  }
  /// An operator's pair, of a CA of his own.
  void give(const std::vector<std::string>& names, WallTime since = kNow) {
    const PemPair pair = make_server_certificate(ca_, names, since);
    config_.tls.certificate = dir_.path() + "/given.pem";
    config_.tls.key = dir_.path() + "/given.key";
    write_file(config_.tls.certificate, pair.certificate);
    write_file(config_.tls.key, pair.key, 0600);
  }

  test::ScratchDir dir_;
  Config config_;
  const PemPair ca_ = make_ca("operator's", kNow);
};

TEST_F(TlsFiles, WithoutTlsNothingIsMade) {
  config_.tls.enabled = false;
  EXPECT_FALSE(refresh_certificate(config_));
  EXPECT_NE(::access(path("").c_str(), F_OK), 0);
  EXPECT_EQ(api_url(config_), "http://127.0.0.1:5000");
  EXPECT_EQ(cacert_file(config_), "");
  EXPECT_FALSE(ServedCertificate(config_).server());
}

TEST_F(TlsFiles, OursIsMadeOnceWithPrivateKeys) {
  config_.cloud.public_url = "https://cloud.example:5000";
  config_.tls.names = {"other.example"};
  EXPECT_TRUE(refresh_certificate(config_));
  const std::string first = text("serve.pem");
  EXPECT_FALSE(refresh_certificate(config_));
  EXPECT_EQ(text("serve.pem"), first);
  EXPECT_TRUE(covers(served(), {"localhost", "127.0.0.1", "cloud.example", "other.example"}));
  EXPECT_EQ(mode("ca.key"), 0600u);
  EXPECT_EQ(mode("api.key"), 0600u);
  EXPECT_EQ(mode("ca.pem"), 0644u);
  EXPECT_EQ(mode("serve.pem"), 0640u);
  EXPECT_EQ(cacert_file(config_), path("ca.pem"));
  EXPECT_TRUE(ServedCertificate(config_).server());
}

TEST_F(TlsFiles, OursIsRenewedByTheSameCaBeforeItEnds) {
  refresh_certificate(config_, kNow);
  const std::string ca = text("ca.pem");
  const WallTime first = valid_until(served());
  EXPECT_FALSE(refresh_certificate(config_, kNow + hours(24 * 330)));
  EXPECT_TRUE(refresh_certificate(config_, kNow + hours(24 * 340)));
  EXPECT_GT(valid_until(served()), first);
  EXPECT_EQ(text("ca.pem"), ca);
  config_.tls.names = {"new.example"};  // and when it must name more
  EXPECT_TRUE(refresh_certificate(config_, kNow + hours(24 * 341)));
  EXPECT_TRUE(covers(served(), {"new.example"}));
}

TEST_F(TlsFiles, ADeathBetweenTwoFilesIsMadeGood) {
  refresh_certificate(config_);
  const PemPair other = make_server_certificate(ca_, {"localhost"}, kNow);
  write_file(path("api.key"), other.key, 0600);  // killed before its certificate was written
  EXPECT_TRUE(refresh_certificate(config_));
  EXPECT_TRUE(ServedCertificate(config_).server());
  ::unlink(path("ca.pem").c_str());  // killed between the CA's key and its certificate
  EXPECT_TRUE(refresh_certificate(config_));
  EXPECT_TRUE(signed_by(served(), read_certificates(text("ca.pem"), "ca").front()));
}

TEST_F(TlsFiles, AnotherControllersCaIsTakenOverAndSignsFromThenOn) {
  EXPECT_FALSE(api_ca(config_)) << "there is none yet";
  refresh_certificate(config_);
  const PemPair mine = *api_ca(config_), other = make_ca("another controller's", kNow);
  try {
    adopt_api_ca(config_, {other.certificate, mine.key});
    ADD_FAILURE() << "a key that is not the certificate's";
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::bad_request);
  }
  EXPECT_EQ(text("ca.pem"), mine.certificate);
  adopt_api_ca(config_, other);
  EXPECT_TRUE(refresh_certificate(config_)) << "what the former CA signed is not trusted by clients of this one";
  EXPECT_TRUE(signed_by(served(), read_certificates(other.certificate, "ca").front()));
  EXPECT_EQ(mode("ca.key"), 0600u);
  EXPECT_EQ(api_ca(config_)->key, other.key);
  give({"127.0.0.1"});
  EXPECT_FALSE(api_ca(config_)) << "an operator's certificate is of no CA that we could hand on";
}

TEST_F(TlsFiles, AnOperatorsFilesAreCheckedBeforeTheyCount) {
  give({"127.0.0.1"});
  EXPECT_TRUE(refresh_certificate(config_));
  const std::string good = text("serve.pem");
  EXPECT_NE(::access(path("ca.key").c_str(), F_OK), 0) << "no CA of our own is needed";
  EXPECT_EQ(trusted_file(config_), config_.tls.certificate);
  EXPECT_EQ(cacert_file(config_), "");  // signed by a CA that the file does not hold

  give({"elsewhere.example"});
  EXPECT_NE(refused().find("does not name 127.0.0.1"), std::string::npos);
  give({"127.0.0.1"}, kNow - hours(24 * 400));
  EXPECT_NE(refused().find("ended at"), std::string::npos);
  give({"127.0.0.1"});
  write_file(config_.tls.key, make_server_certificate(ca_, {"127.0.0.1"}, kNow).key);
  EXPECT_NE(refused().find("is not the certificate's"), std::string::npos);
  ::unlink(config_.tls.key.c_str());
  EXPECT_NE(refused().find("tls.key"), std::string::npos);
  config_.tls.key.clear();
  EXPECT_NE(refused().find("belong together"), std::string::npos);
  EXPECT_EQ(text("serve.pem"), good);

  give({"cloud.example"});
  config_.cloud.public_url = "http://cloud.example:5000";
  EXPECT_NE(refused().find("public_url says http"), std::string::npos);
  config_.cloud.public_url = "https://cloud.example:5000";
  EXPECT_TRUE(refresh_certificate(config_));
  EXPECT_NE(text("serve.pem"), good);
}

TEST_F(TlsFiles, AnOperatorsOwnCaIsForClients) {
  give({"127.0.0.1"});
  write_file(config_.tls.certificate, read_file(config_.tls.certificate) + ca_.certificate);
  EXPECT_EQ(cacert_file(config_), config_.tls.certificate);
}

TEST_F(TlsFiles, ServeTakesANewFileAndKeepsTheOldOneIfThatIsBroken) {
  refresh_certificate(config_);
  ServedCertificate certificate(config_);
  const auto context = certificate.server()->context();
  certificate.look();
  EXPECT_EQ(certificate.server()->context(), context) << "nothing has changed";
  write_file(path("serve.pem"), "broken");
  certificate.look();
  EXPECT_EQ(certificate.server()->context(), context);
  EXPECT_TRUE(refresh_certificate(config_));
  certificate.look();
  EXPECT_NE(certificate.server()->context(), context);
  const auto again = certificate.server()->context();
  certificate.look(true);
  EXPECT_NE(certificate.server()->context(), again);
}

TEST_F(TlsFiles, TheKeeperFollowsFilesAndConfiguration) {
  const std::string toml = dir_.path() + "/virga.toml";
  const auto write = [&](const std::string& names) {
    write_file(toml, "[cloud]\nstate_dir = \"" + dir_.path() + "\"\n[tls]\nenabled = true\nnames = [" +
                         names + "]\n");
  };
  write("");
  CertificateKeeper keeper(load_config(toml), toml);
  const auto wait_for = [&](const std::vector<std::string>& names) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < end) {
      if (::access(path("serve.pem").c_str(), F_OK) == 0 && covers(served(), names)) return true;
      std::this_thread::yield();
    }
    return false;
  };
  EXPECT_TRUE(wait_for({"localhost"}));
  write("\"more.example\"");
  keeper.look_now();
  EXPECT_TRUE(wait_for({"more.example"}));
}

TEST(TlsInConfiguration, IsSetAndNothingElseChanges) {
  EXPECT_EQ(with_tls_enabled(""), "\n[tls]\nenabled = true\n");
  EXPECT_EQ(with_tls_enabled("[tls]"), "[tls]\nenabled = true\n");
  EXPECT_EQ(with_tls_enabled("# mine\n[tls]\n#enabled = false\nnames = []\n[demo]\nenabled = false\n"),
            "# mine\n[tls]\nenabled = true\nnames = []\n[demo]\nenabled = false\n");
  EXPECT_EQ(with_tls_enabled("[demo]\nenabled = false\n"),
            "[demo]\nenabled = false\n\n[tls]\nenabled = true\n");
  EXPECT_EQ(with_tls_enabled("[tls]\nnames = []\n[demo]\nenabled = false\n"),
            "[tls]\nnames = []\nenabled = true\n[demo]\nenabled = false\n");
  const Config config = parse_config(with_tls_enabled(commented_default()), "virga.toml");
  EXPECT_TRUE(config.tls.enabled);
  EXPECT_TRUE(config.demo.enabled);
}

}  // namespace
}  // namespace virga::cloud
