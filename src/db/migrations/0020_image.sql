CREATE TABLE image_images (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  name VARCHAR(255),
  status VARCHAR(30) NOT NULL,
  owner VARCHAR(255),
  visibility VARCHAR(9) NOT NULL,
  protected SMALLINT NOT NULL,
  os_hidden SMALLINT NOT NULL,
  disk_format VARCHAR(20),
  container_format VARCHAR(20),
  min_disk BIGINT NOT NULL,
  min_ram BIGINT NOT NULL,
  size BIGINT,
  virtual_size BIGINT,
  checksum VARCHAR(32),
  os_hash_algo VARCHAR(64),
  os_hash_value VARCHAR(128),
  detected_format VARCHAR(20),
  problem VARCHAR(1024),
  upload_id VARCHAR(36),
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE INDEX image_images_owner ON image_images (owner);
CREATE INDEX image_images_created ON image_images (created_at, id);
CREATE TABLE image_properties (
  image_id VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  value MEDIUMTEXT,
  PRIMARY KEY (image_id, name),
  FOREIGN KEY (image_id) REFERENCES image_images (id) ON DELETE CASCADE
);
CREATE TABLE image_tags (
  image_id VARCHAR(36) NOT NULL,
  tag VARCHAR(255) NOT NULL,
  PRIMARY KEY (image_id, tag),
  FOREIGN KEY (image_id) REFERENCES image_images (id) ON DELETE CASCADE
);
CREATE TABLE image_members (
  image_id VARCHAR(36) NOT NULL,
  member_id VARCHAR(255) NOT NULL,
  status VARCHAR(20) NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  PRIMARY KEY (image_id, member_id),
  FOREIGN KEY (image_id) REFERENCES image_images (id) ON DELETE CASCADE
);
