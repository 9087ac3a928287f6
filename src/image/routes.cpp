#include "image/rules.h"
#include "image/service.h"

namespace virga::image {
namespace {

/// Every minor version since 2.0 is supported: the newest is CURRENT.
http::Response versions(api::Call& call, int status) {
  json::array out;
  const char* minors[] = {"2.15", "2.13", "2.11", "2.10", "2.9", "2.8", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0"};
  for (const char* minor : minors)
    out.push_back(json::object{{"id", std::string("v") + minor},
                               {"status", minor == minors[0] ? "CURRENT" : "SUPPORTED"},
                               {"links", json::array{json::object{{"rel", "self"}, {"href", call.base_url + "/v2/"}}}}});
  return api::reply(status, json::object{{"versions", std::move(out)}});
}

}  // namespace

ImageService::ImageService(Options options, db::Database& database, const Clock& clock)
    : options_(std::move(options)), database_(database), clock_(clock), store_(options_.store_dir) {
  service_.name = "glance";
  service_.type = "image";
  service_.title = "Image Service";
  service_.prefix = "/image";
  service_.bare = {"/v2/images", "/v2/schemas"};
  service_.catalog_path = "/image";
  service_.faults = api::FaultStyle::glance;
  service_.rules = rules();
  add_routes();
}

void ImageService::add_routes() {
  const auto self = [this](http::Response (ImageService::*handler)(api::Call&)) { return [this, handler](api::Call& call) { return (this->*handler)(call); }; };
  const auto schema = [](const char* name) { return [name](api::Call&) { return api::reply(200, schema_document(name)); }; };
  auto& r = service_.routes;
  r.push_back({"GET", "/", "", [](api::Call& c) { return versions(c, 300); }});
  r.push_back({"GET", "/versions", "", [](api::Call& c) { return versions(c, 200); }});
  r.push_back({"GET", "/v2/schemas/image", "get_schema", schema("image")});
  r.push_back({"GET", "/v2/schemas/images", "get_schema", schema("images")});
  r.push_back({"GET", "/v2/schemas/member", "get_schema", schema("member")});
  r.push_back({"GET", "/v2/schemas/members", "get_schema", schema("members")});
  r.push_back({"GET", "/v2/images", "get_images", self(&ImageService::list)});
  r.push_back({"POST", "/v2/images", "add_image", self(&ImageService::create)});
  r.push_back({"GET", "/v2/images/{image_id}", "get_image", self(&ImageService::show)});
  r.push_back({"PATCH", "/v2/images/{image_id}", "modify_image", self(&ImageService::update)});
  r.push_back({"DELETE", "/v2/images/{image_id}", "delete_image", self(&ImageService::remove)});
  r.push_back({"PUT", "/v2/images/{image_id}/file", "upload_image", self(&ImageService::upload), {}, {}, http::BodyMode::streamed});
  r.push_back({"GET", "/v2/images/{image_id}/file", "download_image", self(&ImageService::download)});
  r.push_back({"PUT", "/v2/images/{image_id}/tags/{tag}", "modify_image", [this](api::Call& c) { return set_tag(c, true); }});
  r.push_back({"DELETE", "/v2/images/{image_id}/tags/{tag}", "modify_image", [this](api::Call& c) { return set_tag(c, false); }});
  r.push_back({"POST", "/v2/images/{image_id}/actions/deactivate", "deactivate", [this](api::Call& c) { return set_active(c, false); }});
  r.push_back({"POST", "/v2/images/{image_id}/actions/reactivate", "reactivate", [this](api::Call& c) { return set_active(c, true); }});
  r.push_back({"GET", "/v2/images/{image_id}/members", "get_members", self(&ImageService::list_members)});
  r.push_back({"POST", "/v2/images/{image_id}/members", "add_member", self(&ImageService::add_member)});
  r.push_back({"GET", "/v2/images/{image_id}/members/{member_id}", "get_member", self(&ImageService::show_member)});
  r.push_back({"PUT", "/v2/images/{image_id}/members/{member_id}", "modify_member", self(&ImageService::update_member)});
  r.push_back({"DELETE", "/v2/images/{image_id}/members/{member_id}", "delete_member", self(&ImageService::remove_member)});
  for (auto& route : r) route.chooses_policy = route.policy.text != "get_schema";  // handlers ask with the image in hand
}

std::unique_ptr<Images> make_images(Options options, db::Database& database, const Clock& clock) {
  return std::make_unique<ImageService>(std::move(options), database, clock);
}

}  // namespace virga::image
