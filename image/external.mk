include $(sort $(wildcard $(BR2_EXTERNAL_DUSTFS_PATH)/package/*/*.mk))
