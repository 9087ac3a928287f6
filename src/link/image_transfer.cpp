#include "link/image_transfer.h"

#include "link/convert.h"
#include "link/status.h"

namespace virga::link {

bool send_image(ByteSource& source, uint64_t from, grpc::ServerWriter<v1::ImagePiece>& out, const std::atomic<bool>& stopping) {
  std::string buffer(kPieceSize, '\0');
  v1::ImagePiece piece;
  piece.set_offset(from);
  while (const auto got = source.read({buffer.data(), buffer.size()})) {
    piece.set_bytes(buffer.data(), got);
    if (stopping || !out.Write(piece)) return false;
    piece.clear_offset();
  }
  return true;
}

void receive_image(grpc::ClientContext& context, grpc::ClientReader<v1::ImagePiece>& in, const ImageSink& sink,
                   const std::string& what) {
  v1::ImagePiece piece;
  try {
    uint64_t at = 0;
    for (bool first = true; in.Read(&piece); first = false) {
      if (first) at = piece.offset();
      sink(at, piece.bytes());
      at += piece.bytes().size();
    }
  } catch (...) {
    context.TryCancel();
    in.Finish();
    throw;
  }
  const auto status = in.Finish();
  if (!status.ok()) throw to_fault(status, what);
}

}  // namespace virga::link
