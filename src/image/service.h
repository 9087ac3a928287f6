#pragma once
// The image service's parts, private to this room.

#include <array>
#include <memory>
#include <mutex>
#include <string>

#include "image/api.h"
#include "image/store.h"
#include "image/table.h"

namespace virga::image {

class ImageService final : public Images {
 public:
  ImageService(Options options, db::Database& database, const Clock& clock);

  api::Service& service() override { return service_; }
  std::optional<BootImage> find(db::Tx& tx, const ImageId& id, const api::Caller& caller) override;
  std::optional<BootImage> find(db::Tx& tx, const ImageId& id) override;
  std::function<size_t(std::span<char>)> open_data(const ImageId& id, uint64_t from) override;
  void collect_garbage() override;
  std::function<size_t(std::span<char>)> open_upload(const std::string& upload) override;
  void look_around() override;
  bool fetch_one() override;

 private:
  void add_routes();
  // images.cpp
  http::Response list(api::Call& call);
  http::Response create(api::Call& call);
  http::Response show(api::Call& call);
  http::Response update(api::Call& call);
  http::Response remove(api::Call& call);
  http::Response set_tag(api::Call& call, bool present);
  http::Response set_active(api::Call& call, bool active);
  // data.cpp
  http::Response upload(api::Call& call);
  http::Response download(api::Call& call);
  // members.cpp
  http::Response list_members(api::Call& call);
  http::Response add_member(api::Call& call);
  http::Response show_member(api::Call& call);
  http::Response update_member(api::Call& call);
  http::Response remove_member(api::Call& call);

  // copies.cpp
  /// Opens an image's bytes; fetches them first if this controller has them not. Throws Fault(unavailable) if nobody who lives has.
  std::function<size_t(std::span<char>)> open_copy(const ImageRow& image, uint64_t offset = 0, uint64_t length = UINT64_MAX);
  void fetch_copy(const ImageRow& image);
  void note_copy(db::Tx& tx, const std::string& upload) const;
  void forget_copy(db::Tx& tx, const std::string& upload) const;

  /// The image if this caller may see it; throws Fault(not_found) otherwise.
  ImageRow visible(db::Tx& tx, const std::string& id, const api::Caller& caller) const;
  /// The image of the path, if the route's rule holds for it; throws Fault(forbidden) otherwise.
  ImageRow asked(db::Tx& tx, api::Call& call) const;
  /// The same, and it is the caller's to change; throws Fault(forbidden) otherwise.
  ImageRow owned(db::Tx& tx, api::Call& call, std::string_view verb) const;

  Options options_;
  db::Database& database_;
  const Clock& clock_;
  Store store_;
  std::array<std::mutex, 8> fetching_;  ///< by upload: it is fetched once
  api::Service service_;
};

/// JSON of an image as the Image API shows it (view.cpp).
json::object view(const ImageRow& image);
json::object view(const MemberRow& member);
/// JSON schema documents: "image", "images", "member", "members" (schemas.cpp).
json::object schema_document(std::string_view name);
/// Applies a JSON patch (media type openstack-images-v2.1-json-patch) to an image; throws Fault (patch.cpp).
void apply_patch(ImageRow& image, const json::array& operations, api::Call& call);
/// Applies the attributes of a creation body; throws Fault (patch.cpp).
void set_attribute(ImageRow& image, std::string_view name, const json::value& value, api::Call& call);
/// What policies ask of an image; `member` is the project it is shared with, as far as that matters.
api::Target target_of(const ImageRow& image, const std::string& member);
bool is_base_attribute(std::string_view name);

}  // namespace virga::image
