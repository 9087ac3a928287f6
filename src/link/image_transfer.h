#pragma once
// The two ends of an image on its way: from a controller to an agent or another controller.

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "link/agent.grpc.pb.h"
#include "link/api.h"

namespace virga::link {

/// A source whose first byte is the image's at `from`. False if nobody takes it any more, or `stopping` came true.
bool send_image(ByteSource& source, uint64_t from, grpc::ServerWriter<v1::ImagePiece>& out, const std::atomic<bool>& stopping);
/// To the end of the call. Throws what `sink` throws, or a Fault that begins with `what` if it breaks off.
void receive_image(grpc::ClientContext& context, grpc::ClientReader<v1::ImagePiece>& in, const ImageSink& sink,
                   const std::string& what);

}  // namespace virga::link
