#include "link/image_transfer.h"

#include "link/convert.h"
#include "link/status.h"

namespace virga::link {

bool send_image(ByteSource& source, grpc::ServerWriter<v1::ImagePiece>& out, const std::atomic<bool>& stopping) {
  std::string buffer(kPieceSize, '\0');
  v1::ImagePiece piece;
  while (const auto got = source.read({buffer.data(), buffer.size()})) {
    piece.set_bytes(buffer.data(), got);
    if (stopping || !out.Write(piece)) return false;
  }
  return true;
}

void receive_image(grpc::ClientContext& context, grpc::ClientReader<v1::ImagePiece>& in, const std::function<void(std::string_view)>& sink,
                   const std::string& what) {
  v1::ImagePiece piece;
  try {
    while (in.Read(&piece)) sink(piece.bytes());
  } catch (...) {
    context.TryCancel();
    in.Finish();
    throw;
  }
  const auto status = in.Finish();
  if (!status.ok()) throw to_fault(status, what);
}

}  // namespace virga::link
