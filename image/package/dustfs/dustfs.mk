################################################################################
#
# dustfs
#
################################################################################

DUSTFS_VERSION = local
DUSTFS_SITE = $(BR2_EXTERNAL_DUSTFS_PATH)/../target/cross/$(call qstrip,$(BR2_PACKAGE_DUSTFS_TARGET))/full
DUSTFS_SITE_METHOD = local
DUSTFS_LICENSE = MIT or Apache-2.0
DUSTFS_BOARD = $(call qstrip,$(BR2_PACKAGE_DUSTFS_BOARD))

ifneq ($(DUSTFS_BOARD),)
define DUSTFS_INSTALL_BOARD
	$(INSTALL) -D -m 0644 \
		$(BR2_EXTERNAL_DUSTFS_PATH)/../board/$(DUSTFS_BOARD)/board.toml \
		$(TARGET_DIR)/etc/dustfs/board.toml
endef
endif

# Supervised by init: see etc/inittab in the overlay.
define DUSTFS_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/dustfs $(TARGET_DIR)/usr/bin/dustfs
	$(DUSTFS_INSTALL_BOARD)
endef

$(eval $(generic-package))
