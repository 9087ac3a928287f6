#pragma once
// The image tables. Every function is one or two statements.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/page.h"
#include "base/clock.h"
#include "db/api.h"

namespace virga::image {

struct ImageRow {
  std::string id, status, owner, visibility = "shared";
  std::optional<std::string> name, disk_format, container_format;
  bool is_protected = false, hidden = false;
  int64_t min_disk = 0, min_ram = 0;
  std::optional<int64_t> size, virtual_size;
  std::optional<std::string> checksum, hash_algo, hash_value;
  std::string detected_format, problem;
  std::string upload_id;  ///< names the upload that may still write, and then the stored file
  std::string created_at, updated_at;
  std::map<std::string, std::string> properties;
  std::vector<std::string> tags;
};

struct MemberRow {
  std::string image_id, member_id, status, created_at, updated_at;
};

/// The columns of ImageRow in order; `read_row` reads them back.
extern const std::string_view kImageColumns;
ImageRow read_row(const db::Row& row);

std::optional<ImageRow> find_image(db::Tx& tx, const std::string& id);
void insert_image(db::Tx& tx, const ImageRow& image);
/// Writes every column but the id, and the properties and tags.
void update_image(db::Tx& tx, const ImageRow& image);
void delete_image(db::Tx& tx, const std::string& id);
/// Adds properties and tags to rows of a list, in two statements.
void load_details(db::Tx& tx, std::vector<ImageRow>& images);
/// queued -> saving with a new upload id. False if the image was not queued.
bool begin_upload(db::Tx& tx, const std::string& id, const std::string& upload_id, Time now);
/// saving -> active with what was found, only for the upload that began. False if the image went away meanwhile.
bool finish_upload(db::Tx& tx, const ImageRow& found, Time now);
/// saving -> queued, only for that upload.
void abandon_upload(db::Tx& tx, const std::string& id, const std::string& upload_id, Time now);

std::optional<MemberRow> find_member(db::Tx& tx, const std::string& image_id, const std::string& member_id);
std::vector<MemberRow> members_of(db::Tx& tx, const std::string& image_id);

}  // namespace virga::image
