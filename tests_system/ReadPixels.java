import java.io.FileOutputStream;
import loci.common.services.ServiceFactory;
import loci.formats.ImageReader;
import loci.formats.meta.IMetadata;
import loci.formats.services.OMEXMLService;

/** Writes what Bio-Formats reads of a file: raw samples, one file a series and resolution, and a line on each. */
public class ReadPixels {
    public static void main(String[] arguments) throws Exception {
        ImageReader reader = new ImageReader();
        reader.setFlattenedResolutions(false);
        IMetadata metadata = new ServiceFactory().getInstance(OMEXMLService.class).createOMEXMLMetadata();
        reader.setMetadataStore(metadata);
        reader.setId(arguments[0]);
        for (int series = 0; series < reader.getSeriesCount(); series++) {
            reader.setSeries(series);
            for (int resolution = 0; resolution < reader.getResolutionCount(); resolution++) {
                reader.setResolution(resolution);
                Object size = metadata.getPixelsPhysicalSizeX(series);
                String micrometres = size == null ? "none" : metadata.getPixelsPhysicalSizeX(series).value().toString();
                System.out.println("FOUND\t" + series + "\t" + resolution + "\t" + reader.getSizeY() + "\t"
                        + reader.getSizeX() + "\t" + reader.getSizeC() + "\t" + reader.getPixelType() + "\t"
                        + reader.isInterleaved() + "\t" + micrometres + "\t" + metadata.getImageName(series) + "\t"
                        + metadata.getChannelName(series, 0));
                try (FileOutputStream out = new FileOutputStream(arguments[1] + "/" + series + "-" + resolution)) {
                    for (int plane = 0; plane < reader.getImageCount(); plane++) {
                        out.write(reader.openBytes(plane));
                    }
                }
            }
        }
        reader.close();
    }
}
